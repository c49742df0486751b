/** The one HTTP client, typed by the API's own description. */
import createClient from "openapi-fetch";

import type { FieldProblem, Problem, paths } from "./schema.gen";

export type * from "./schema.gen";

export const client = createClient<paths>({ baseUrl: "" });
client.use({ onError: () => new ApiProblem(asProblem(null, 0)) });

/** An error answer of the API (RFC 9457), or a network failure put into the same form. */
export class ApiProblem extends Error {
  readonly fields: FieldProblem[];

  constructor(readonly problem: Problem) {
    super(problem.detail);
    this.fields = problem.errors ?? [];
  }
}

/** The data of an answer; throws `ApiProblem` for an error. */
export function unwrap<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data !== undefined) return answer.data;
  throw new ApiProblem(asProblem(answer.error, answer.response.status));
}

export function asProblem(body: unknown, status: number): Problem {
  if (typeof body === "object" && body !== null && "detail" in body && "code" in body) return body as Problem;
  const detail = status === 0 ? "The service does not answer." : `The service answered with status ${status}.`;
  return { type: "about:blank", title: "Error", status, detail, code: "unknown", request_id: "", errors: [] };
}

/** Send a form with files; reports the fraction that has been sent. */
export function upload<T>(path: string, form: FormData, onProgress: (fraction: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how much it has sent
    request.open("POST", path);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () =>
      request.status < 300 ? resolve(request.response as T) : reject(new ApiProblem(asProblem(request.response, request.status)));
    request.onerror = () => reject(new ApiProblem(asProblem(null, 0)));
    request.send(form);
  });
}

/** Sends what is written on the page, and keeps what the service has against it until that is changed. */
import { useState } from "react";
import { useNavigate } from "react-router";

import { ApiProblem, type JobCreate } from "@/api/client";
import { useCreateJob } from "@/api/queries";
import type { ProblemAt } from "@/features/new-job/draft";
import { valueAt } from "@/features/new-job/json";
import type { Editor } from "@/features/new-job/useEditor";
import { PATHS } from "@/lib/paths";
import { hintInWords } from "@/lib/pointers";
import { randomKey } from "@/lib/randomKey";
import { TEACHER } from "@/lib/teachers";

export function useSubmission({ request, finished }: Editor) {
  const navigate = useNavigate();
  const create = useCreateJob();
  const [sent, setSent] = useState<JobCreate | null>(null);
  const [key, setKey] = useState(() => randomKey()); // a double click makes one job

  const problem = create.error instanceof ApiProblem ? create.error : null;
  const fields = (problem?.fields ?? []).map((field) => ({ ...field, pointer: asSent(field.pointer) }));
  const open = fields.filter(({ pointer }) => unchanged(sent, request, pointer));
  const problemAt: ProblemAt = (...pointers) => {
    const field = open.find(({ pointer }) => pointers.includes(pointer));
    return field && (field.hint ? `${field.detail} ${hintInWords(field.hint)}` : field.detail);
  };

  const submit = async () => {
    const body = finished();
    if (body === undefined) return;
    setSent(body);
    try {
      const job = await create.mutateAsync({ key, body });
      await navigate(PATHS.job(job.id));
    } catch {
      setKey(randomKey()); // the error is shown; the corrected request is a new one
    }
  };

  return {
    submit,
    pending: create.isPending,
    problem,
    /** What is wrong with the request, while some of it is still there. */
    error: problem !== null && fields.length > 0 && open.length === 0 ? null : create.error,
    open,
    problemAt,
    forget: create.reset,
  };
}

/** A request without any checkpoint of a teacher might be of either form; it is of the long one. */
const asSent = (pointer: string) => (pointer === "/teacher_id" ? `/teacher_ids/${TEACHER}` : pointer);

/** Whether a field still holds what was sent, so that the answer to it holds too. */
function unchanged(sent: JobCreate | null, request: JobCreate | undefined, pointer: string): boolean {
  return request !== undefined && JSON.stringify(valueAt(sent, pointer)) === JSON.stringify(valueAt(request, pointer));
}

/** Upload a dataset or a checkpoint: name, files, how far it is, what the server has against it. */
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";

import { ApiProblem, type CheckpointView, type DatasetView, upload } from "@/api/client";
import { checkpointsQuery, datasetsQuery } from "@/api/queries";
import { Button, Notice, ProgressBar } from "@/components/basics";
import { TextField } from "@/components/Field";
import { formatPercent } from "@/lib/format";

const KINDS = {
  datasets: {
    title: "Upload a dataset",
    hint: "One zip with train.json, val.json (COCO) and the images, or as COCO, Roboflow, CVAT, FiftyOne, Label Studio, mmdetection or Datumaro export it.",
    accept: ".zip",
    multiple: false,
    list: datasetsQuery,
  },
  checkpoints: {
    title: "Upload a checkpoint",
    hint: "The folder of save_pretrained: one zip, or config.json, model.safetensors and preprocessor_config.json. To teach with boxes and scores alone: model.onnx with the two, or detections.json.",
    accept: ".zip,.json,.safetensors,.onnx",
    multiple: true,
    list: checkpointsQuery,
  },
} as const;

interface Props<T> {
  kind: keyof typeof KINDS;
  onDone?: (created: T) => void;
}

/** The files that are chosen, their name, and how far they have been sent. `reset` is called when they are there. */
function useUpload<T>({ kind, onDone }: Props<T>, reset: () => void) {
  const cache = useQueryClient();
  const [name, setName] = useState("");
  const [named, setNamed] = useState(false); // by a person; until then the name follows the files
  const [files, setFiles] = useState<File[]>([]);
  const [sent, setSent] = useState<number | null>(null);
  const [problem, setProblem] = useState<ApiProblem | null>(null);

  const choose = (chosen: File[]) => {
    setFiles(chosen);
    setProblem(null);
    if (!named) setName(chosen.length === 1 && chosen[0] ? chosen[0].name.replace(/\.(zip|json|safetensors|onnx)$/, "") : "");
  };

  const rename = (text: string) => {
    setName(text);
    setNamed(text !== "");
  };

  const send = async (form: FormData) => {
    for (const [field, value] of [...form]) if (value === "") form.delete(field); // as if it were not there
    form.append("name", name);
    for (const file of files) form.append("files", file);
    setSent(0);
    setProblem(null);
    try {
      const created = await upload<T>(`/${kind}`, form, setSent);
      await cache.invalidateQueries({ queryKey: KINDS[kind].list.queryKey });
      setFiles([]);
      rename("");
      reset();
      onDone?.(created);
    } catch (error) {
      setProblem(error as ApiProblem);
    } finally {
      setSent(null);
    }
  };

  return { name, rename, files, choose, send, sent, problem };
}

export function Uploader<T extends DatasetView | CheckpointView>(props: Props<T>) {
  const { title, hint, accept, multiple } = KINDS[props.kind];
  const picker = useRef<HTMLInputElement>(null);
  const { name, rename, files, choose, send, sent, problem } = useUpload(props, () => {
    if (picker.current) picker.current.value = "";
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    void send(new FormData(event.currentTarget));
  };
  return (
    <form onSubmit={submit} className="space-y-3 rounded-lg border border-dashed border-line p-4" aria-label={title}>
      <p className="text-sm font-medium">{title}</p>
      <input
        ref={picker}
        type="file"
        accept={accept}
        multiple={multiple}
        aria-label={`${title}: files`}
        onChange={(event) => choose([...(event.target.files ?? [])])}
        className="block w-full text-sm text-soft file:mr-3 file:cursor-pointer file:rounded-md file:border file:border-line file:bg-card file:px-3 file:py-1 file:text-sm"
      />
      <p className="text-xs text-faint">{hint}</p>
      {files.length > 0 && (
        <div className="flex items-end gap-3">
          <div className="grow">
            <TextField label="Name" value={name} onChange={(event) => rename(event.target.value)} required maxLength={200} />
          </div>
          <Button type="submit" variant="primary" disabled={sent !== null || name.trim() === ""}>
            Upload
          </Button>
        </div>
      )}
      {files.length > 0 && props.kind === "datasets" && <SplitFields />}
      {sent !== null && (
        <div>
          <ProgressBar fraction={sent} label="upload" />
          <p className="mt-1 text-xs text-faint">{sent < 1 ? `${formatPercent(sent)} sent` : "checking the files…"}</p>
        </div>
      )}
      {problem && (
        <Notice tone="bad" title={problem.message}>
          {problem.fields.map(({ detail, hint: advice }) => [detail === problem.message ? "" : detail, advice].filter(Boolean).join(" ")).join(" ")}
        </Notice>
      )}
    </form>
  );
}

/** How a dataset without a file for validation is to be split. */
function SplitFields() {
  return (
    <details className="text-sm">
      <summary className="cursor-pointer text-soft">The images are not split into training and validation yet</summary>
      <div className="mt-2 grid grid-cols-2 gap-3">
        <TextField
          label="Share for validation"
          name="val_fraction"
          type="number"
          min={0.001}
          max={0.999}
          step="any"
          placeholder="0.2"
          hint="Where there is no file for validation: that share of the images is chosen by the seed."
        />
        <TextField label="Seed of the split" name="seed" type="number" min={0} step={1} placeholder="0" />
      </div>
    </details>
  );
}

import { useState } from "react";

import type { ArtifactView, JobDetail } from "@/api/client";
import { isActive, useArtifacts } from "@/api/queries";
import { Button, Card } from "@/components/basics";
import { formatBytes } from "@/lib/format";

const SNIPPET = `from transformers import AutoModelForObjectDetection

model = AutoModelForObjectDetection.from_pretrained("student")`;

export function Downloads({ job }: { job: JobDetail }) {
  const query = useArtifacts(job);
  const artifacts = query.data?.data ?? [];
  const whole = artifacts.find((file) => file.name === "student.zip");
  return (
    <Card title="Downloads">
      {artifacts.length === 0 ? (
        <p className="text-soft">
          {query.error
            ? `The files could not be listed: ${query.error.message}`
            : isActive(job)
              ? "Log and weights are listed here as soon as there are any."
              : "This job left no files."}
        </p>
      ) : (
        <div className="space-y-4">
          {isActive(job) && <p className="text-xs text-faint">As they are now; the job still runs.</p>}
          {whole && <Weights file={whole} />}
          <ul className="divide-y divide-line text-sm">
            {artifacts
              .filter((file) => file !== whole)
              .map((file) => (
                <File key={file.name} file={file} />
              ))}
          </ul>
        </div>
      )}
    </Card>
  );
}

function Weights({ file }: { file: ArtifactView }) {
  return (
    <div>
      <a
        href={file.url}
        download
        className="inline-flex items-center gap-2 rounded-md bg-ink px-3 py-1.5 text-sm font-medium text-page hover:opacity-85"
      >
        Download student weights <span className="opacity-70">{formatBytes(file.size)}</span>
      </a>
      <pre className="mt-3 overflow-x-auto rounded-md bg-tint p-3 font-mono text-xs">{SNIPPET}</pre>
    </div>
  );
}

function File({ file }: { file: ArtifactView }) {
  return (
    <li className="flex items-center gap-3 py-1.5">
      <a href={file.url} download className="truncate font-mono text-xs hover:underline">
        {file.name}
      </a>
      <span className="ml-auto text-xs whitespace-nowrap text-faint">{formatBytes(file.size)}</span>
      <CopyDigest digest={file.sha256} />
    </li>
  );
}

function CopyDigest({ digest }: { digest: string }) {
  const [copied, setCopied] = useState(false);
  const [whole, setWhole] = useState(false); // where the browser lets no page copy, as over plain HTTP from another machine
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(digest);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      setWhole(true);
    }
  };
  if (whole) return <code className="max-w-40 text-xs break-all select-all">{digest}</code>;
  return (
    <Button className="px-1.5 py-0.5 font-mono text-xs" title={`Copy SHA-256 ${digest}`} onClick={() => void copy()}>
      {copied ? "copied" : digest.slice(0, 8)}
    </Button>
  );
}

import { useState } from "react";

import type { ArtifactView, JobDetail } from "@/api/client";
import { isActive, useArtifacts } from "@/api/queries";
import { Button, Card } from "@/components/basics";
import { formatBytes } from "@/lib/format";

const SNIPPET = `from transformers import AutoModelForObjectDetection

model = AutoModelForObjectDetection.from_pretrained("student")`;

export function Downloads({ job }: { job: JobDetail }) {
  const artifacts = useArtifacts(job.id).data?.data ?? [];
  const whole = artifacts.find((file) => file.name === "student.zip");
  return (
    <Card title="Downloads">
      {artifacts.length === 0 ? (
        <p className="text-soft">{isActive(job) ? "Weights will be here when the job has ended." : "This job left no files."}</p>
      ) : (
        <div className="space-y-4">
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
  const copy = async () => {
    await navigator.clipboard.writeText(digest);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <Button className="px-1.5 py-0.5 font-mono text-xs" title={`Copy SHA-256 ${digest}`} onClick={() => void copy()}>
      {copied ? "copied" : digest.slice(0, 8)}
    </Button>
  );
}

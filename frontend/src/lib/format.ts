/** Numbers and times as people read them. */

export const NO_VALUE = "–";

/** AP is 0 to 1 in the API and 0 to 100 on the pages. */
export const formatAp = (ap: number | undefined | null) => (ap === undefined || ap === null || ap < 0 ? NO_VALUE : (100 * ap).toFixed(1));

export function formatGain(gain: number | undefined | null): string {
  if (gain === undefined || gain === null) return NO_VALUE;
  const points = Math.abs(100 * gain).toFixed(1);
  return points === "0.0" ? points : `${gain > 0 ? "+" : "−"}${points}`;
}

/** The colour of a gain: none for what is shown as 0.0, and none beside a verdict against the result. */
export function gainColor(gain: number | undefined | null, verdict: string | undefined | null): string {
  if (gain === undefined || gain === null || verdict || Math.abs(100 * gain) < 0.05) return "";
  return gain > 0 ? "text-good" : "text-bad";
}

export const formatPercent = (fraction: number) => `${Math.round(100 * fraction)} %`;

export function formatDuration(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

export function formatAge(time: string, now: number): string {
  const seconds = (now - Date.parse(time)) / 1000;
  return seconds < 5 ? "just now" : `${formatDuration(seconds)} ago`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

export function formatCount(count: number | null): string {
  if (count === null) return NO_VALUE;
  if (count >= 1e6) return `${(count / 1e6).toFixed(count >= 1e7 ? 0 : 2)} M`;
  if (count >= 1e4) return `${Math.round(count / 1e3)} k`;
  return count.toLocaleString("en");
}

export const formatClock = (time: string) => new Date(time).toLocaleTimeString("en-GB");

export const capitalize = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** The first words of a verdict, such as "Learned nothing". */
export const verdictTitle = (verdict: string) => capitalize(verdict.split(": ")[0] ?? "");

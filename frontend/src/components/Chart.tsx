/** A line chart (uPlot) that follows its container and the colour scheme. */
import { useEffect, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { NO_VALUE } from "@/lib/format";

const FONT = "11px ui-sans-serif, system-ui, sans-serif";

export interface Curve {
  label: string;
  /** A CSS custom property, as `--color-student`. */
  color: string;
  x: number[];
  y: number[];
  /** Lengths of dash and gap; a continuous line without. */
  dash?: number[];
  points?: boolean;
}

interface Props {
  curves: Curve[];
  xLabel: string;
  format: (value: number) => string;
  /** Small, without legend: one of several beside each other. */
  compact?: boolean;
  /** The y axis begins at zero and is at least this high. */
  fromZero?: number | undefined;
}

const scheme = () => window.matchMedia("(prefers-color-scheme: dark)");

function onScheme(changed: () => void): () => void {
  const query = scheme();
  query.addEventListener("change", changed);
  return () => query.removeEventListener("change", changed);
}

export function Chart({ curves, xLabel, format, compact = false, fromZero }: Props) {
  const height = compact ? 110 : 220;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const latest = useRef(curves);
  const dark = useSyncExternalStore(onScheme, () => scheme().matches);
  // all but the points: a chart that only grows is not built anew, so that the cursor stays
  const lines = JSON.stringify(curves.map((curve) => ({ ...curve, x: [], y: [] })));

  useEffect(() => {
    latest.current = curves;
    plot.current?.setData(aligned(curves));
  }, [curves]);

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const options = optionsOf(JSON.parse(lines) as Curve[], { xLabel, format, compact, fromZero }, element);
    const drawn = new uPlot({ ...options, width: element.clientWidth, height }, aligned(latest.current), element);
    plot.current = drawn;
    const observer = new ResizeObserver(() => drawn.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [lines, xLabel, format, height, compact, fromZero, dark]);

  return <div ref={box} className="chart w-full min-w-0 overflow-hidden" />;
}

function optionsOf(curves: Curve[], { xLabel, format, compact, fromZero }: Omit<Props, "curves">, element: HTMLElement): Omit<uPlot.Options, "width" | "height"> {
  const axis: uPlot.Axis = {
    stroke: resolved(element, "--color-faint"),
    grid: { stroke: resolved(element, "--color-line"), width: 1 },
    ticks: { show: false },
    font: FONT,
  };
  return {
    padding: [8, 8, 0, 0],
    legend: { show: !compact },
    cursor: { points: { size: 6 } },
    scales: { x: { time: false }, y: fromZero === undefined ? {} : { range: (_, __, max) => [0, Math.max(fromZero, 1.08 * max)] } },
    axes: [
      { ...axis, size: 28, ...(compact ? {} : { label: xLabel, labelSize: 18, labelFont: FONT }) },
      { ...axis, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))), size: 46 },
    ],
    series: [
      { label: xLabel, value: (_, x: number | null) => (x === null ? NO_VALUE : x.toFixed(2)) },
      ...curves.map((curve) => ({
        label: curve.label,
        stroke: resolved(element, curve.color),
        width: 1.8,
        spanGaps: true,
        points: { show: curve.points ?? false, size: 5 },
        value: (_: uPlot, y: number | null) => (y === null ? NO_VALUE : format(y)),
        ...(curve.dash ? { dash: curve.dash } : {}),
      })),
    ],
  };
}

/** A custom property as the browser resolves it where the chart stands (uPlot draws on a canvas). */
function resolved(element: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** One shared x axis; a curve has gaps where it has no value. */
function aligned(curves: Curve[]): uPlot.AlignedData {
  const all = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const rows = curves.map((curve) => {
    const at = new Map(curve.x.map((x, index) => [x, curve.y[index] ?? null]));
    return all.map((x) => at.get(x) ?? null);
  });
  return [all, ...rows];
}

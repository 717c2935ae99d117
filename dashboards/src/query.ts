// One question to the telemetry, asked in PromQL or in Flux. Nothing of Grafana's is here.

/** Variables of the dashboard that a question can be narrowed by. */
export type Pick = "node" | "rack";

/** Samples of one metric, folded over the labels that are not in `by`. */
export interface Series {
  readonly kind: "series";
  readonly metric: string;
  readonly by: readonly string[];
  /** How several devices become one line. */
  readonly fold: "max" | "min" | "sum" | "mean";
  /** Labels that name one real thing. The controller and an agent both export a device's signals,
   *  so these are collapsed first and nothing is counted twice. */
  readonly each: readonly string[];
  readonly pick?: Pick;
  readonly legend: string;
}

/** One metric less another, line by line. */
export interface Difference {
  readonly kind: "difference";
  readonly of: string;
  readonly less: string;
  readonly by: readonly string[];
  readonly pick?: Pick;
  readonly legend: string;
}

/** Seconds to trip. A node that never trips has no sample, and is told from one that nobody
 *  watches by its power: `NEVER` stands where power is known and a trip is not in sight. */
export interface TimeToTrip {
  readonly kind: "time_to_trip";
  readonly legend: string;
}

/** Growth of a counter per second. Counters are not written to InfluxDB. */
export interface Rate {
  readonly kind: "rate";
  readonly metric: string;
  readonly by: readonly string[];
  readonly legend: string;
}

/** A signal that counts up by itself (seconds, events), per second. */
export interface Slope {
  readonly kind: "slope";
  readonly metric: string;
  readonly by: readonly string[];
  readonly fold: "max" | "sum" | "mean";
  readonly each: readonly string[];
  readonly pick?: Pick;
  readonly legend: string;
}

/** A gauge of the process itself, which only Prometheus has. */
export interface Gauge {
  readonly kind: "gauge";
  readonly metric: string;
  readonly by: readonly string[];
  readonly pick?: Pick;
  readonly legend: string;
}

export type Query = Series | Difference | TimeToTrip | Rate | Slope | Gauge;

/** Longer than any breaker waits: shown as "never". */
export const NEVER = 1e9;

export const series = (metric: string, by: readonly string[], legend: string, more: Partial<Series> = {}): Series => ({
  kind: "series", metric, by, fold: "max", each: more.each ?? by, legend, ...more,
});

const selector = (pick?: Pick): string => (pick ? `{${pick}=~"$${pick}"}` : "");
const labels = (names: readonly string[]): string => (names.length ? ` by (${names.join(", ")})` : "");
const same = (a: readonly string[], b: readonly string[]): boolean => a.join() === b.join();

/** The question in PromQL. */
export function promql(q: Query): string {
  switch (q.kind) {
    case "series": {
      const one = `max${labels(q.each)} (${q.metric}${selector(q.pick)})`;
      return same(q.each, q.by) ? one : `${q.fold === "mean" ? "avg" : q.fold}${labels(q.by)} (${one})`;
    }
    case "difference":
      return `max${labels(q.by)} (${q.of}${selector(q.pick)}) - max${labels(q.by)} (${q.less}${selector(q.pick)})`;
    case "time_to_trip":
      return `min by (node) (headroom_node_time_to_trip_seconds${selector("node")}) or (max by (node) (headroom_node_power_watts${selector("node")}) * 0 + ${NEVER})`;
    case "rate":
      return `sum${labels(q.by)} (rate(${q.metric}[$__rate_interval]))`;
    case "slope": {
      const one = `max${labels(q.each)} (rate(${q.metric}${selector(q.pick)}[$__rate_interval]))`;
      return same(q.each, q.by) ? one : `${q.fold === "mean" ? "avg" : q.fold}${labels(q.by)} (${one})`;
    }
    case "gauge":
      return `max${labels(q.by)} (${q.metric}${selector(q.pick)})`;
  }
}

const columns = (names: readonly string[]): string => `[${names.map((n) => `"${n}"`).join(", ")}]`;
const pickFlux = (pick?: Pick): string[] => (pick ? [`  |> filter(fn: (r) => r.${pick} =~ /^\${${pick}:regex}$/)`] : []);
const from = (metrics: readonly string[], pick?: Pick): string[] => [
  "from(bucket: v.defaultBucket)",
  "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)",
  `  |> filter(fn: (r) => ${metrics.length > 1 ? "(" : ""}${metrics.map((m) => `r._measurement == "${m}"`).join(" or ")}${metrics.length > 1 ? ")" : ""} and r._field == "value")`,
  ...pickFlux(pick),
];
const windowed = (fn: string): string => `  |> aggregateWindow(every: v.windowPeriod, fn: ${fn}, createEmpty: false)`;
function folded(q: { fold: string; each: readonly string[]; by: readonly string[] }): string[] {
  if (same(q.each, q.by)) return [];
  return [`  |> group(columns: ${columns(["_time", ...q.by])})`, `  |> ${q.fold}()`, `  |> group(columns: ${columns(q.by)})`, `  |> sort(columns: ["_time"])`];
}

/** The question in Flux, for the tables that the controller writes to InfluxDB; `undefined` when
 *  they do not hold the answer. */
export function flux(q: Query): string | undefined {
  switch (q.kind) {
    case "series":
      return [...from([q.metric], q.pick), `  |> group(columns: ${columns(q.each)})`, windowed(q.fold === "min" ? "min" : "max"), ...folded(q)].join("\n");
    case "slope":
      return [...from([q.metric], q.pick), `  |> group(columns: ${columns(q.each)})`, windowed("max"), "  |> derivative(unit: 1s, nonNegative: true)", ...folded(q)].join("\n");
    case "difference":
      return [...from([q.of, q.less], q.pick), `  |> group(columns: ${columns(["_measurement", ...q.by])})`, windowed("max"), `  |> group(columns: ${columns(q.by)})`,
        `  |> pivot(rowKey: ${columns(["_time", ...q.by])}, columnKey: ["_measurement"], valueColumn: "_value")`,
        `  |> filter(fn: (r) => exists r.${q.of} and exists r.${q.less})`,
        `  |> map(fn: (r) => ({_time: r._time, ${q.by.map((l) => `${l}: r.${l}`).join(", ")}, _value: r.${q.of} - r.${q.less}}))`,
        `  |> group(columns: ${columns(q.by)})`].join("\n");
    case "time_to_trip":
      return [...from(["headroom_node_time_to_trip_seconds", "headroom_node_power_watts"], "node"), `  |> group(columns: ["_measurement", "node"])`, windowed("min"), `  |> group(columns: ["node"])`,
        `  |> pivot(rowKey: ["_time", "node"], columnKey: ["_measurement"], valueColumn: "_value")`,
        `  |> map(fn: (r) => ({_time: r._time, node: r.node, _value: if exists r.headroom_node_time_to_trip_seconds then r.headroom_node_time_to_trip_seconds else ${NEVER}.0}))`,
        `  |> group(columns: ["node"])`].join("\n");
    case "rate":
    case "gauge":
      return undefined;
  }
}

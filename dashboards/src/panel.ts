// A panel said once; drawn with Grafana's builders for whichever source answers it.
import type { Builder, Dataquery } from "@grafana/grafana-foundation-sdk/cog";
import * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import * as stat from "@grafana/grafana-foundation-sdk/stat";
import * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";
import { flux, NEVER, promql, type Query } from "./query.js";

export type Source = "prometheus" | "influxdb";

/** Colour from a value upwards. */
export type Step = readonly [from: number | null, colour: string];

export interface Panel {
  readonly title: string;
  /** What an operator should read from it. */
  readonly note: string;
  readonly kind: "stat" | "lines" | "states";
  readonly unit: string;
  readonly queries: readonly Query[];
  readonly steps?: readonly Step[];
  readonly names?: Readonly<Record<string, { text: string; color: string }>>;
  readonly width: number;
  readonly height?: number;
  readonly min?: number;
  readonly max?: number;
  readonly logarithmic?: boolean;
  readonly repeat?: "node" | "rack";
}

/** A query of InfluxDB's data source; the SDK has no builder for it. */
class FluxQuery implements Builder<Dataquery> {
  constructor(private readonly query: string, private readonly refId: string) {}
  build(): Dataquery {
    const query: Dataquery & { refId: string; query: string; datasource: common.DataSourceRef } = {
      refId: this.refId, query: this.query, datasource: reference("influxdb"), _implementsDataqueryVariant() {},
    };
    return query;
  }
}

export const reference = (source: Source): common.DataSourceRef => ({ type: source, uid: "${datasource}" });
const refId = (i: number): string => String.fromCharCode(65 + i);

function target(q: Query, i: number, source: Source): Builder<Dataquery> | undefined {
  if (source === "prometheus") {
    return new prometheus.DataqueryBuilder().refId(refId(i)).expr(promql(q)).legendFormat(q.legend).range().datasource(reference(source));
  }
  const query = flux(q);
  return query === undefined ? undefined : new FluxQuery(query, refId(i));
}

// Grafana's names of Prometheus labels in a legend, as field labels that any source fills.
const asField = (legend: string): string => legend.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, "${__field.labels.$1}");

const never: dashboard.ValueMapping = { type: dashboard.MappingType.RangeToText, options: { from: NEVER / 10, to: NEVER * 10, result: { text: "never", color: "green", index: 0 } } };

/** The panel for one source; `undefined` when that source has none of its answers. */
export function draw(p: Panel, source: Source, id: number): Builder<dashboard.Panel> | undefined {
  const targets = p.queries.map((q, i) => target(q, i, source)).filter((t) => t !== undefined);
  if (!targets.length) return undefined;
  const thresholds = new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps((p.steps ?? [[null, "text"]]).map(([value, color]) => ({ value, color })));
  const mappings: dashboard.ValueMapping[] = p.queries.some((q) => q.kind === "time_to_trip") ? [never] : [];
  if (p.names) mappings.push({ type: dashboard.MappingType.ValueToText, options: Object.fromEntries(Object.entries(p.names).map(([k, v], index) => [k, { ...v, index }])) });
  const shape = <B extends timeseries.PanelBuilder | stat.PanelBuilder | statetimeline.PanelBuilder>(b: B): B => {
    b.id(id).title(p.title).description(p.note).unit(p.unit).span(p.width).height(p.height ?? 8).datasource(reference(source)).thresholds(thresholds).mappings(mappings)
      // Unknown is not healthy: nothing reads as nothing.
      .noValue("no data");
    if (p.min !== undefined) b.min(p.min);
    if (p.max !== undefined) b.max(p.max);
    if (p.repeat) b.repeat(p.repeat).repeatDirection("h").maxPerRow(2);
    for (const t of targets) b.withTarget(t);
    if (source === "influxdb") p.queries.forEach((q, i) => b.overrideByQuery(refId(i), [{ id: "displayName", value: asField(q.legend) }]));
    return b;
  };
  const tooltip = new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending);
  switch (p.kind) {
    case "stat":
      return shape(new stat.PanelBuilder()).reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"])).colorMode(common.BigValueColorMode.Value).graphMode(common.BigValueGraphMode.None).textMode(common.BigValueTextMode.ValueAndName);
    case "states":
      return shape(new statetimeline.PanelBuilder()).mergeValues(true).tooltip(tooltip);
    case "lines": {
      const lines = shape(new timeseries.PanelBuilder()).lineWidth(2).fillOpacity(p.steps ? 0 : 8).showPoints(common.VisibilityMode.Never).spanNulls(false).tooltip(tooltip)
        .legend(new common.VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(true));
      if (p.logarithmic) lines.scaleDistribution(new common.ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Log).log(10));
      if (p.steps) lines.thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Line));
      return lines;
    }
  }
}

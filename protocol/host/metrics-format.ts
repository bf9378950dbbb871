// The two text formats in which metrics travel, and which of them a request asks for.
import { Registry } from '@prometheus-io/client'

export const OPENMETRICS = Registry.OPENMETRICS_CONTENT_TYPE
export const PLAIN = Registry.PROMETHEUS_CONTENT_TYPE

/** Versions of OpenMetrics that 1.0.0 serves. */
const VERSIONS = new Set(['1.0.0', '0.0.1'])

interface Wish {
  readonly type: string
  readonly version: string | null
  /** From 0 to 1. */
  readonly weight: number
}

const wishesOf = (accept: string): Wish[] =>
  accept.split(',').map((part) => {
    const [type = '', ...params] = part.split(';').map((text) => text.trim())
    const valueOf = (name: string): string | null =>
      params.find((param) => param.startsWith(`${name}=`))?.slice(name.length + 1) ?? null
    const weight = Number(valueOf('q') ?? 1)
    return { type: type.toLowerCase(), version: valueOf('version'), weight: weight >= 0 && weight <= 1 ? weight : 0 }
  })

/** The format for an Accept header: OpenMetrics where that is asked for and preferred, else the older text, which all read. */
export const formatFor = (accept: string | undefined): typeof OPENMETRICS | typeof PLAIN => {
  const wishes = wishesOf(accept ?? '')
  const weightOf = (types: readonly string[], versions: ReadonlySet<string | null> | null): number =>
    wishes
      .filter(({ type, version }) => types.includes(type) && (versions === null || versions.has(version)))
      .reduce((most, { weight }) => Math.max(most, weight), 0)
  const open = weightOf(['application/openmetrics-text'], new Set([...VERSIONS, null]))
  const plain = weightOf(['text/plain', 'text/*', '*/*'], null)
  return open > 0 && open >= plain ? OPENMETRICS : PLAIN
}

/** A text in OpenMetrics in the older format, where a counter has the suffix in its own name and nothing marks the end. */
export const plainOf = (text: string): string => {
  const counters = new Set([...text.matchAll(/^# TYPE (\S+) counter$/gmu)].map(([, name]) => name!))
  return text
    .replace(/^# (HELP|TYPE) (\S+)/gmu, (line, _, name: string) => (counters.has(name) ? `${line}_total` : line))
    .replace(/^# EOF\n$/mu, '')
}

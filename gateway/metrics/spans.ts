// A backup that has ended as the spans of one trace, in the JSON of OTLP: the backup, and below it the agent's steps and the end.
import { createHash } from 'node:crypto'
import { VERSION } from '../../protocol/host/version.ts'
import type { Step } from '../../protocol/steps.ts'
import type { EndedBackup } from './ended-backups.ts'

/** SPAN_KIND_INTERNAL and STATUS_CODE_ERROR of OTLP. */
const INTERNAL = 1
const ERROR = 2

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue: string } | { readonly intValue: string }
}

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status?: { readonly code: number; readonly message: string }
}

const nanos = (ms: number): string => String(BigInt(Math.round(ms)) * 1_000_000n)

const attributesOf = (values: Readonly<Record<string, string | number | null>>): Attribute[] =>
  Object.entries(values).flatMap(([key, value]) => {
    if (value === null) return []
    return [{ key, value: typeof value === 'string' ? { stringValue: value } : { intValue: String(value) } }]
  })

/** The trace of a job is its id: whoever has one finds the other. */
export const traceIdOf = (job: string): string => job.replaceAll('-', '')

/** The same span of the same job has the same id, so that what is sent twice is one. */
const spanIdOf = (job: string, place: string): string =>
  createHash('sha256').update(`${job} ${place}`).digest('hex').slice(0, 16)

/** Within the backup: an agent may say what it likes, and a step is never outside of what it is a part of. */
const within = (ms: number, { startedMs, endedMs }: EndedBackup): number => Math.min(Math.max(ms, startedMs), endedMs)

const stepSpan = (ended: EndedBackup, toldMs: number, step: Step, index: number): Span => {
  const beganMs = toldMs - step.agoMs
  return {
    traceId: traceIdOf(ended.job),
    spanId: spanIdOf(ended.job, `step ${index}`),
    parentSpanId: spanIdOf(ended.job, 'backup'),
    name: `agent ${step.step}`,
    kind: INTERNAL,
    startTimeUnixNano: nanos(within(beganMs, ended)),
    endTimeUnixNano: nanos(within(beganMs + step.tookMs, ended)),
    attributes: attributesOf({ 'varve.disk': step.disk, 'varve.bytes_read': step.step === 'disk' ? step.bytes : null }),
  }
}

/** The spans of a backup; without steps where its agent named none. */
export const spansOf = (ended: EndedBackup): Span[] => {
  const { job, tenant, machine, startedMs, endedMs, error, bytes, noted } = ended
  const traceId = traceIdOf(job)
  const root: Span = {
    traceId,
    spanId: spanIdOf(job, 'backup'),
    name: 'backup',
    kind: INTERNAL,
    startTimeUnixNano: nanos(startedMs),
    endTimeUnixNano: nanos(endedMs),
    attributes: attributesOf({
      'varve.tenant': tenant,
      'varve.machine': machine,
      'varve.job': job,
      'varve.bytes_read': error === null ? bytes.read : null,
      'varve.bytes_sent': error === null ? bytes.sent : null,
      'varve.bytes_stored': error === null ? bytes.stored : null,
      'error.type': error?.code ?? null,
    }),
    ...(error === null ? {} : { status: { code: ERROR, message: error.message } }),
  }
  if (noted === null) return [root]
  const end: Span = {
    traceId,
    spanId: spanIdOf(job, 'end'),
    parentSpanId: root.spanId,
    name: error === null ? 'gateway commit' : 'gateway fail',
    kind: INTERNAL,
    startTimeUnixNano: nanos(within(noted.toldMs, ended)),
    endTimeUnixNano: nanos(endedMs),
    attributes: [],
  }
  return [root, ...noted.steps.map((step, index) => stepSpan(ended, noted.toldMs, step, index)), end]
}

/** What goes to the collector: a request of OTLP for these spans. */
export const exportOf = (spans: readonly Span[], instance: string): object => ({
  resourceSpans: [
    {
      resource: {
        attributes: attributesOf({
          'service.name': 'varve-gateway',
          'service.version': VERSION,
          'service.instance.id': instance,
        }),
      },
      scopeSpans: [{ scope: { name: 'varve', version: VERSION }, spans }],
    },
  ],
})

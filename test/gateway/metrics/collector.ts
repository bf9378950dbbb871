// A small collector of traces: takes requests of OTLP over HTTP in JSON, and answers as a test says.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as v from 'valibot'

const id = (digits: number) => v.pipe(v.string(), v.regex(new RegExp(`^(?!0+$)[0-9a-f]{${digits}}$`, 'u')))
const nanos = v.pipe(v.string(), v.regex(/^\d{1,19}$/u))

const attributes = v.array(
  v.strictObject({
    key: v.pipe(v.string(), v.minLength(1)),
    value: v.union([
      v.strictObject({ stringValue: v.string() }),
      v.strictObject({ intValue: v.pipe(v.string(), v.regex(/^-?\d+$/u)) }),
    ]),
  }),
)

const span = v.strictObject({
  traceId: id(32),
  spanId: id(16),
  parentSpanId: v.optional(id(16)),
  name: v.string(),
  kind: v.picklist([1, 2, 3, 4, 5]),
  startTimeUnixNano: nanos,
  endTimeUnixNano: nanos,
  attributes,
  status: v.optional(v.strictObject({ code: v.picklist([0, 1, 2]), message: v.string() })),
})

/** What the proto3 JSON mapping of OTLP's ExportTraceServiceRequest allows, of it what the gateway uses. */
const request = v.strictObject({
  resourceSpans: v.array(
    v.strictObject({
      resource: v.strictObject({ attributes }),
      scopeSpans: v.array(
        v.strictObject({ scope: v.strictObject({ name: v.string(), version: v.string() }), spans: v.array(span) }),
      ),
    }),
  ),
})

export type CollectedSpan = v.InferOutput<typeof span>

export interface Collector extends AsyncDisposable {
  readonly url: string
  readonly spans: CollectedSpan[]
  /** Status of each request's answer. */
  readonly answered: number[]
}

/** Listens on a free loopback port; `statusOf` says the answer to the first, second, ... request. */
export const startCollector = async (statusOf: (request: number) => number = () => 200): Promise<Collector> => {
  const spans: CollectedSpan[] = []
  const answered: number[] = []
  const server = createServer((incoming, response) => {
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    incoming.on('end', () => {
      const isOurs = incoming.url === '/v1/traces' && incoming.headers['content-type'] === 'application/json'
      const parsed = v.safeParse(request, JSON.parse(Buffer.concat(parts).toString()))
      const status = isOurs && parsed.success ? statusOf(answered.length) : 400
      answered.push(status)
      if (status === 200 && parsed.success)
        spans.push(...parsed.output.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((one) => one.spans)))
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    answered,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => void server.close(resolve))
    },
  }
}

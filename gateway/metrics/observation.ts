// What a gateway measures, and for whom: metrics where they can be read, traces where a collector is named, else nothing at all.
import { randomUUID } from 'node:crypto'
import { VERSION } from '../../protocol/host/version.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { EventRow } from '../catalog/events.ts'
import type { Events } from '../events/events.ts'
import { StepNotes } from '../jobs/step-notes.ts'
import { countEnded, countEvent } from './counts.ts'
import { endedOf } from './ended-backups.ts'
import { FollowedEvents } from './followed-events.ts'
import { Instruments } from './instruments.ts'
import { Metrics, type MetricsOptions } from './metrics.ts'
import { spansOf } from './spans.ts'
import { TraceSender, tracesUrl } from './trace-sender.ts'

export interface ObservationOptions extends Omit<MetricsOptions, 'catalog' | 'instruments' | 'read'> {
  readonly catalog: Pick<Catalog, 'figures' | 'events'>
  readonly events: Pick<Events, 'after' | 'listen'>
  /** Whether somebody can read the metrics. */
  readonly metrics: boolean
  /** Address of a collector; null for none. */
  readonly otlpEndpoint: string | null
  readonly clock: Clock
  readonly log: Log
}

export class Observation implements AsyncDisposable {
  /** Null where nobody can read them. */
  readonly metrics: Metrics | null
  /** To be given what agents say of their steps. */
  readonly steps: StepNotes
  readonly #resources: AsyncDisposableStack

  private constructor(metrics: Metrics | null, steps: StepNotes, resources: AsyncDisposableStack) {
    this.metrics = metrics
    this.steps = steps
    this.#resources = resources
  }

  static async open(options: ObservationOptions): Promise<Observation> {
    const { catalog, events, otlpEndpoint, clock, log } = options
    await using resources = new AsyncDisposableStack()
    if (!options.metrics && otlpEndpoint === null) return new Observation(null, new StepNotes(0), resources.move())
    const steps = new StepNotes()
    const instruments = new Instruments(VERSION)
    const { traceSpans } = instruments.happened
    const count = (outcome: 'sent' | 'dropped', spans: number): void => traceSpans.inc({ outcome }, spans)
    const sender =
      otlpEndpoint === null
        ? null
        : resources.use(new TraceSender({ url: tracesUrl(otlpEndpoint), instance: randomUUID(), count, clock, log }))
    const take = (event: EventRow): void => {
      const ended = endedOf(event, steps)
      if (ended === null) return countEvent(instruments.happened, event)
      countEnded(instruments.happened, ended)
      sender?.send(spansOf(ended))
    }
    const followed = resources.use(new FollowedEvents({ events, from: await catalog.events.last(), take, clock, log }))
    const read = (): Promise<void> => followed.read()
    const metrics = options.metrics ? resources.use(new Metrics({ ...options, instruments, read })) : null
    return new Observation(metrics, steps, resources.move())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

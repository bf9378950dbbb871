// Notifications without a network: a real catalog in memory, the real loop, a clock moved by hand, and servers that only note.
import { randomUUID } from 'node:crypto'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { ConditionSet } from '../../../gateway/catalog/events.ts'
import { Notifier } from '../../../gateway/notify/notifier.ts'
import type { Sent } from '../../../gateway/notify/outward.ts'
import type { Severity } from '../../../protocol/events.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HOURLY_DEFAULT, type Match, type Message, type Rule, type SmtpSettings } from '../../../protocol/notify.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { MemoryCatalog } from '../../support/catalog-damage.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS

/** 10 January 2027, 12:00 in UTC. */
export const NOON_MS = Date.UTC(2027, 0, 10, 12)

export const MAIL: SmtpSettings = {
  kind: 'smtp',
  host: 'mail.example',
  port: 587,
  security: 'starttls',
  insecure: false,
  user: null,
  from: 'varve@example.org',
  to: ['ann@example.org'],
  authority: null,
}

interface Received {
  readonly target: string
  readonly message: Message
}

export class NoticeStand implements AsyncDisposable {
  readonly clock: HandClock
  readonly memory = new MemoryCatalog()
  readonly catalog: Catalog = this.memory.catalog
  readonly received: Received[] = []
  readonly tenant: string = randomUUID()
  /** How a server answers; a promise of it that never comes is one that hangs. */
  answer: (target: string) => Sent | Promise<Sent> = () => ({ sent: true, answer: '250 ok' })
  #notifier: Notifier | null = null
  #pings = 0

  constructor(nowMs = NOON_MS) {
    this.clock = new HandClock(nowMs)
  }

  static async open(nowMs = NOON_MS): Promise<NoticeStand> {
    const stand = new NoticeStand(nowMs)
    const { tenant: id, catalog } = stand
    await catalog.tenants.add({ id, name: 'acme', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs })
    return stand
  }

  get pings(): number {
    return this.#pings
  }

  /** A gateway's loop begins; one that ran before is gone without its end. */
  async start(): Promise<void> {
    this.#notifier = new Notifier({
      catalog: this.catalog,
      listen: () => () => {},
      outward: {
        send: async (_tenant, { name: target }, message, signal) => {
          this.received.push({ target, message })
          const stopped = new Promise<Sent>((resolve) =>
            signal?.addEventListener('abort', () => resolve({ sent: false, answer: 'stopped' })),
          )
          return Promise.race([this.answer(target), stopped])
        },
      },
      deadMan: { tick: async () => (this.#pings++, null) },
      clock: this.clock,
      log: openLog({ level: 'silent' }),
    })
    await settle()
  }

  async stop(): Promise<void> {
    await this.#notifier?.[Symbol.asyncDispose]()
    this.#notifier = null
  }

  async wake(): Promise<void> {
    this.#notifier?.wake()
    await settle(20)
  }

  async addTarget(name: string, hourly = HOURLY_DEFAULT, tenant: string | null = this.tenant): Promise<void> {
    const target = { name, settings: MAIL, secret: null, hourly, origin: null, set: [] }
    await this.catalog.notices.setTarget({ tenant, target, rule: null, nowMs: this.clock.now() })
  }

  async rule(
    name: string,
    rest: Partial<Rule> & { match?: Match } = {},
    tenant: string | null = this.tenant,
  ): Promise<void> {
    const rule = { match: {}, targets: ['mail'], quiet: null, repeatMs: null, ...rest, name }
    await this.catalog.notices.setRule({ tenant, rule, nowMs: this.clock.now() })
  }

  async mute(match: Match, untilMs: number): Promise<string> {
    const id = randomUUID()
    const mute = { id, by: 'ann', reason: 'work', match, sinceMs: this.clock.now(), untilMs } as const
    await this.catalog.notices.mute({ tenant: this.tenant, mute: { ...mute, match: match as Rule['match'] } })
    return id
  }

  /** A machine is late, or worse. */
  async late(machine: string, severity: Severity = 'warning', text = `${machine} is late`): Promise<void> {
    const change: ConditionSet = {
      holds: true,
      tenant: this.tenant,
      key: `machine.state ${machine}`,
      kind: 'machine.state',
      severity,
      machine,
      value: `${severity} ${text}`,
      text,
      data: {},
    }
    await this.catalog.conditions.apply({ changes: [change], nowMs: this.clock.now() })
    await this.wake()
  }

  /** It has a fresh point again. */
  async fresh(machine: string): Promise<void> {
    const change = {
      holds: false,
      tenant: this.tenant,
      key: `machine.state ${machine}`,
      kind: 'machine.state',
    } as const
    const said = { machine, text: `${machine} is fresh`, data: {} }
    await this.catalog.conditions.apply({ changes: [{ ...change, ...said }], nowMs: this.clock.now() })
    await this.wake()
  }

  /** A backup fails: that happens once. */
  async failed(machine: string): Promise<void> {
    const event = { timeMs: this.clock.now(), kind: 'job.failed', severity: 'error', tenant: this.tenant } as const
    const said = { machine, text: `the backup of ${machine} failed`, data: {} }
    await this.catalog.events.append({ events: [{ ...event, ...said }] })
    await this.wake()
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advanceSettled(ms)
    await settle(20)
  }

  /** Subjects of all messages since the last call, in their order. */
  take(target = 'mail'): string[] {
    const own = this.received.filter((one) => one.target === target)
    this.received.splice(0, this.received.length, ...this.received.filter((one) => one.target !== target))
    return own.map(({ message }) => message.subject.replace('[Varve] ', ''))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    this.memory[Symbol.dispose]()
  }
}

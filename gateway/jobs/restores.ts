// Restores that people order: handed to an agent, followed while they run, and ended exactly once whoever goes away.
import { randomUUID } from 'node:crypto'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Clock, OpenCall, Peer, ServedCall } from '../../protocol/peer.ts'
import type { Restore } from '../../protocol/restores.ts'
import type { AuditRecord } from '../catalog/audit-record.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { unaudited, type Change } from '../catalog/change.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Teller } from '../events/events.ts'
import { agentError, answerOf, speaksOfGateway } from './agent-error.ts'
import type { AgentLinks } from './backups.ts'
import { failureOf, isOnto, keeper, orderOf, within } from './restore-disks.ts'
import { Watchers } from './watchers.ts'

/** How long an agent may take to look at the places and open them, in milliseconds. */
const OPEN_LIMIT_MS = 120_000

/** How long it may take to say what is at some places, in milliseconds. */
const LOOK_LIMIT_MS = 60_000

type Disks = Restore['disks']

interface Running {
  readonly tenant: string
  readonly agent: string
  readonly point: string
  readonly call: OpenCall<'agent.restore' | 'agent.restoreOnto'>
  disks: Disks
  /** The agent has opened all places: from here on the restore is told of and kept. */
  opened: boolean
  /** What this gateway answered to the agent that reads the disks. */
  refusal: VarveError | null
  cancelled: VarveError | null
  failure: VarveError | null
}

interface Start {
  readonly tenant: Tenant
  readonly subject: string
  readonly asked: Params<'restores.start'>
}

interface RestoresOptions {
  readonly catalog: Pick<Catalog, 'agents' | 'points' | 'restores'>
  readonly agents: Pick<AgentLinks, 'agent'>
  readonly events: Teller
  readonly clock: Clock
  readonly log: Log
}

export class Restores implements AsyncDisposable {
  readonly #options: RestoresOptions
  readonly #watchers: Watchers
  readonly #running = new Map<string, Running>()
  readonly #ending = new Set<Promise<void>>()
  readonly #turns = new Queue()
  #stopping: VarveError | null = null

  constructor(options: RestoresOptions) {
    this.#options = options
    this.#watchers = new Watchers(options.clock, options.events)
  }

  /** Ends what ran when the gateway was last killed: agents have given it up with the connection. */
  async abandon(): Promise<void> {
    const { catalog, clock, log } = this.#options
    const count = await catalog.restores.abandon({ nowMs: clock.now() })
    if (count > 0) log.warn({ count }, 'restores ran when the gateway stopped, and have failed')
  }

  /** Where an agent of the tenant lets restores write; NOT_FOUND, AGENT_OFFLINE. */
  async places(tenant: Tenant, { agent, places }: Params<'restores.places'>): Promise<Result<'restores.places'>> {
    const { host, peer } = await this.#agentOf(tenant, agent)
    const answer = peer.call('agent.places', { places }, { deadlineMs: LOOK_LIMIT_MS })
    return { host, ...(await this.#answer(host, peer, answer)) }
  }

  /**
   * Orders a restore; resolves when the agent has opened all places. NOT_FOUND, AGENT_OFFLINE, LIMIT_REACHED, and the agent's
   * refusals, of which nothing is kept: RESTORE_FORBIDDEN, TARGET_EXISTS, TARGET_IN_USE, TARGET_INVALID.
   */
  async start({ tenant, subject, asked }: Start): Promise<{ restore: string }> {
    const { catalog, clock, log } = this.#options
    const { agent, overwrite } = asked
    const point = await catalog.points.find({ tenant: tenant.id, agent: null, prefix: asked.point })
    const ordered = orderOf(point, asked.disks)
    const { host, peer } = await this.#agentOf(tenant, agent)
    if (this.#stopping !== null) throw this.#stopping
    const id = randomUUID()
    const disks = ordered.map(({ disk, size, to, format, how }) => {
      const nothing = { doneBytes: 0, bytesReceived: 0, differBytes: null, writtenBytes: 0, remarks: [] }
      return { disk, size, to, format, how, ...nothing }
    })
    const row = { id, tenant: tenant.id, point: point.id, agent, subject, overwrite, disks, nowMs: clock.now() }
    await catalog.restores.start(row)
    let call: Running['call']
    try {
      const order = { restore: id, point: point.id, disks: ordered, overwrite }
      call = isOnto(ordered) ? peer.open('agent.restoreOnto', order) : peer.open('agent.restore', order)
    } catch (thrown) {
      await catalog.restores.withdraw({ id })
      throw agentError(thrown, peer)
    }
    const open = { tenant: tenant.id, agent, point: point.id, call, disks, opened: false }
    const running: Running = { ...open, refusal: null, cancelled: null, failure: null }
    this.#running.set(id, running)
    log.info({ restore: id, tenant: tenant.name, machine: point.machine, point: point.id, host }, 'a restore starts')
    const opened = Promise.withResolvers<void>()
    const ended = this.#follow(id, running, { host, peer, onOpen: opened.resolve })
    this.#ending.add(ended)
    void ended.finally(() => this.#ending.delete(ended))
    const stopTimer = clock.after(OPEN_LIMIT_MS, () => {
      const late = `the agent on ${host} did not open the places within ${OPEN_LIMIT_MS / 1000} s`
      void this.#giveUp(id, new VarveError('DEADLINE_EXCEEDED', late))
    })
    try {
      await Promise.race([opened.promise, ended])
    } finally {
      stopTimer()
    }
    if (!running.opened && running.failure !== null) throw running.failure
    return { restore: id }
  }

  /** Whether an agent may read a disk of a point that is not its own: while it restores just that one. */
  mayRead(agent: string, { point, disk }: { readonly point: string; readonly disk: string }): boolean {
    return this.#reading(agent, { point, disk }).length > 0
  }

  /** Notes what this gateway answered to an agent that reads a disk for a restore. */
  refusedRead(agent: string, of: { readonly point: string; readonly disk: string }, thrown: unknown): void {
    for (const running of this.#reading(agent, of)) running.refusal = asVarveError(thrown)
  }

  /** The restore as it is now; NOT_FOUND. */
  async get(tenant: Tenant, id: string): Promise<Restore> {
    const row = await this.#options.catalog.restores.get({ tenant: tenant.id, id })
    if (row === null) throw new VarveError('NOT_FOUND', `there is no restore ${id}`)
    return this.shown(row)
  }

  /** A row of the catalog with what is known of it here. */
  shown(row: Restore): Restore {
    const running = row.state === 'running' ? this.#running.get(row.id) : undefined
    return running === undefined ? row : { ...row, disks: [...running.disks] }
  }

  /** Sends the restore now and after each change until it has ended; gives the last one. */
  async watch(call: ServedCall<'restores.watch'>, id: string, look: () => Promise<Restore>): Promise<Restore> {
    while (true) {
      call.signal.throwIfAborted()
      const changed = this.#watchers.changed(id, call.signal)
      const restore = await look()
      if (restore.state !== 'running') return restore
      await call.send(restore)
      await changed
    }
  }

  /** Ends a running restore for a person; JOB_ENDED where it has ended, NOT_FOUND. */
  async cancel(tenant: Tenant, id: string, subject: string, change = unaudited): Promise<void> {
    const { state, disks } = await this.get(tenant, id)
    if (state !== 'running') throw new VarveError('JOB_ENDED', `restore ${id} has ended already`)
    const error = new VarveError('CANCELLED', `cancelled by ${subject}`)
    if (this.#running.has(id)) return await this.#giveUp(id, error, change)
    // one whose end could not be written
    const { code, message } = error
    const end = { id, error: { code, message }, disks, nowMs: this.#options.clock.now() }
    await change((entry) => this.#options.catalog.restores.end(end, entry))
  }

  /** Ends all that run: to be called before the connections are closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = new VarveError('GOING_AWAY', 'the gateway is stopping')
    await Promise.allSettled([...this.#running.keys()].map((id) => this.#giveUp(id, this.#stopping!)))
    await Promise.allSettled(this.#ending)
  }

  #reading(agent: string, { point, disk }: { readonly point: string; readonly disk: string }): Running[] {
    return [...this.#running.values()].filter(
      (one) => one.agent === agent && one.point === point && one.disks.some((other) => other.disk === disk),
    )
  }

  async #agentOf(tenant: Tenant, id: string): Promise<{ host: string; peer: Peer }> {
    const { catalog, agents } = this.#options
    const found = await catalog.agents.byId({ id })
    if (found === null || found.tenant !== tenant.id)
      throw new VarveError('NOT_FOUND', `there is no agent ${id}; "varve-gateway agent list" shows them`)
    if (found.revokedMs !== null) throw new VarveError('AGENT_OFFLINE', `the agent on ${found.host} was revoked`)
    try {
      return { host: found.host, peer: agents.agent(id) }
    } catch {
      const sentence = `the agent on ${found.host} is not connected; is "varve-agent run" running there?`
      throw new VarveError('AGENT_OFFLINE', sentence)
    }
  }

  /** An older agent knows none of this. */
  async #answer<R>(host: string, peer: Peer, answer: Promise<R>): Promise<R> {
    try {
      return await answerOf(peer, answer)
    } catch (thrown) {
      throw older(host, asVarveError(thrown))
    }
  }

  /** Follows the call to its end, and ends the restore with it; never throws. */
  async #follow(
    id: string,
    running: Running,
    { host, peer, onOpen }: { readonly host: string; readonly peer: Peer; readonly onOpen: () => void },
  ): Promise<void> {
    const { call } = running
    try {
      for await (const { disk, doneBytes, bytesReceived, ...found } of call.messages) {
        running.disks = running.disks.map((one) =>
          one.disk === disk
            ? { ...one, doneBytes: Math.min(doneBytes, one.size), bytesReceived, ...within(one, found) }
            : one,
        )
        running.opened = true
        onOpen()
        this.#watchers.notify(id, 'progress')
      }
    } catch {
      // the result has it too
    }
    try {
      const { disks } = await call.result
      const remarksKept = keeper()
      const restored = running.disks.map((one) => {
        const done = disks.find(({ disk }) => disk === one.disk)
        if (done === undefined) throw new VarveError('RESULT_INVALID', `the agent says nothing of disk ${one.disk}`)
        const { format, bytesReceived } = done
        const whole = { format, doneBytes: one.size, bytesReceived, ...within(one, done) }
        return { ...one, ...whole, remarks: remarksKept(done.remarks) }
      })
      running.disks = restored
      await this.#end(id, running, null)
    } catch (thrown) {
      await this.#end(id, running, this.#failure(running, host, peer, thrown))
    }
  }

  /** What an agent answers, but for what this gateway itself has told it. */
  #failure({ refusal, cancelled }: Running, host: string, peer: Peer, thrown: unknown): VarveError {
    if (cancelled !== null) return cancelled
    const error = asVarveError(thrown)
    if (refusal !== null && refusal.code === error.code && speaksOfGateway(error.code)) return refusal
    return older(host, agentError(thrown, peer))
  }

  /** Ends one at the wish of this side; its agent is told by the end of the call. */
  async #giveUp(id: string, error: VarveError, change: Change | null = null): Promise<void> {
    const running = this.#running.get(id)
    if (running === undefined) return
    running.cancelled = error
    await this.#end(id, running, error, change)
    running.call.cancel()
  }

  /** Writes the end once; one that cannot be written is logged, and a person or the next start ends it. */
  async #end(id: string, running: Running, error: VarveError | null, change: Change | null = null): Promise<void> {
    const { catalog, clock, log } = this.#options
    await this.#turns.run(async () => {
      if (!this.#running.has(id)) return
      running.failure = error
      try {
        if (!running.opened && error !== null) await catalog.restores.withdraw({ id })
        else {
          const failure = error === null ? null : failureOf(error, running.disks)
          const end = { id, error: failure, disks: running.disks, nowMs: clock.now() }
          if (change === null) await catalog.restores.end(end, this.#entry(id, running, failure?.code ?? 'ok'))
          else await change((entry) => catalog.restores.end(end, entry))
        }
      } catch (thrown) {
        log.error({ err: thrown, restore: id }, 'the end of a restore cannot be written')
        if (change !== null) throw thrown
      }
      this.#running.delete(id)
      if (error === null) log.info({ restore: id }, 'a restore is done')
      else log.warn({ restore: id, code: error.code, reason: error.message }, 'a restore failed')
    })
    this.#watchers.notify(id, 'end')
  }

  #entry(id: string, { tenant, agent, point }: Running, outcome: string): AuditRecord {
    const resource = `point=${point} agent=${agent} restore=${id}`
    const about = { action: 'restores.end', subject: agent, role: 'agent', resource, outcome, details: {} }
    return { timeMs: this.#options.clock.now(), tenant, ...about }
  }
}

const older = (host: string, error: VarveError): VarveError => {
  if (error.code !== 'METHOD_UNKNOWN') return error
  const sentence = `the agent on ${host} is too old to restore what the gateway orders: update it, or run "varve-agent restore" there`
  return new VarveError('METHOD_UNKNOWN', sentence, { cause: error })
}

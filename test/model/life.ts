// One life of a gateway in the model: opens the store, looks at everything in it, does what its plan says, and ends as told
// or by a fault.
//
// Usage: node --import ./arm.ts life.ts PLAN
import path from 'node:path'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import { readFileSync, rmSync } from 'node:fs'
import { openAuthority } from '../../gateway/auth/authority.ts'
import { Audit } from '../../gateway/auth/audit.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { LOCK_NAME } from '../../gateway/folder/layout.ts'
import { Datastore } from '../../gateway/datastore/datastore.ts'
import { Events } from '../../gateway/events/events.ts'
import { MachineStates } from '../../gateway/freshness/machine-states.ts'
import { Backups } from '../../gateway/jobs/backups.ts'
import { Restores } from '../../gateway/jobs/restores.ts'
import { openLog } from '../../protocol/host/log.ts'
import { StateKeeper } from '../../gateway/maintenance/keep-state.ts'
import { NoticeDesk } from '../../gateway/notify/desk.ts'
import { Maintenance } from '../../gateway/maintenance/maintenance.ts'
import { MemoryBudget } from '../../gateway/memory/budget.ts'
import { serviceOf, type Parts } from '../../gateway/service/service.ts'
import type { SessionParts } from '../../gateway/session/connection.ts'
import { sessionHandlers } from '../../gateway/session/methods.ts'
import { Registry } from '../../gateway/session/registry.ts'
import { NO_TOKEN, type Role } from '../../protocol/claims.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import { LOAD } from '../../protocol/methods.ts'
import { KEEP_OFF } from '../../protocol/plans.ts'
import type { Clock, Handlers, Peer } from '../../protocol/peer.ts'
import { memoryLink, type MemoryLink } from '../gateway/memory-link.ts'
import { plainOf, splitChunks } from '../protocol/wire-chunks.ts'
import { LifeAgent } from './agent.ts'
import { chunkAt, type DiskContent } from './contents.ts'
import { Control } from './control.ts'
import type { LifePlan, Op } from './plan.ts'

/** How much faster than ours the clock of the gateway runs, so that its timers come up. */
const CLOCK_SPEED = 50

/** Longest page of restore points. */
const POINTS_MAX = 250

/** A clock that begins where the plan says. */
const clockFrom = (startMs: number): Clock => {
  const begunMs = Date.now()
  return {
    now: () => startMs + (Date.now() - begunMs) * CLOCK_SPEED,
    elapsed: () => performance.now() * CLOCK_SPEED,
    after: (ms, action) => systemClock.after(ms / CLOCK_SPEED, action),
  }
}

class Life implements AsyncDisposable {
  readonly #plan: LifePlan
  readonly #control: Control
  readonly #services: Parts & SessionParts
  readonly #resources: AsyncDisposableStack
  readonly #people = new Map<string, Peer>()
  readonly #agents = new Map<string, LifeAgent>()
  readonly #known: Map<string, readonly DiskContent[]>
  #nextWork = 1

  private constructor(
    plan: LifePlan,
    control: Control,
    services: Parts & SessionParts,
    tenants: Map<string, Tenant>,
    resources: AsyncDisposableStack,
  ) {
    this.#plan = plan
    this.#control = control
    this.#services = services
    this.#resources = resources
    this.#known = new Map(Object.entries(plan.known))
    for (const [name, tenant] of tenants) this.#people.set(name, this.#session(tenant, 'owner', 'ada', {}).agent)
    for (const { name, tenant, agent } of plan.machines) {
      const connect = ({ onOrder }: Parameters<ConstructorParameters<typeof LifeAgent>[0]['connect']>[0]): MemoryLink =>
        this.#session(tenants.get(tenant)!, 'agent', agent, {
          'agent.backup': async (order) => {
            onOrder(order)
            return {}
          },
        })
      this.#agents.set(
        name,
        new LifeAgent({ machine: name, connect, known: this.#known, say: (fact) => control.say(fact) }),
      )
    }
  }

  static async open(plan: LifePlan, control: Control): Promise<Life> {
    await using resources = new AsyncDisposableStack()
    const { folder, packBytesMax } = plan
    const clock = clockFrom(plan.clockMs)
    const log = openLog({ level: 'silent' })
    const datastore = resources.use(
      await Datastore.open({ folder, log, threads: 1, nowMs: () => clock.now(), packBytesMax }),
    )
    const { catalog } = datastore
    const authority = await openAuthority({ folder, catalog, nowMs: clock.now() })
    const audit = resources.use(new Audit({ catalog, onError: () => {} }))
    const events = resources.use(new Events({ catalog, clock, log }))
    const registry = new Registry(clock)
    const backups = new Backups({ datastore, agents: registry, clock, log, events })
    const restores = new Restores({ catalog, agents: registry, events, clock, log })
    const states = new MachineStates({ catalog, online: (agent) => registry.online(agent), clock })
    const maintenance = resources.use(new Maintenance({ datastore, clock, log }))
    await maintenance.attributeKnown()
    resources.use(new StateKeeper({ datastore, clock, log }))
    const desk = await NoticeDesk.open({ folder: path.join(folder, 'keys'), catalog, clock })
    resources.defer(() => backups.uploads.settled())
    resources.use(restores)
    const parts = {
      folder,
      datastore,
      authority,
      audit,
      sessions: registry,
      backups,
      restores,
      maintenance,
      events,
      states,
      desk,
      clock,
      log,
    }
    const services = { ...parts, ...serviceOf(parts), registry, memory: new MemoryBudget() }
    const tenants = new Map<string, Tenant>()
    for (const { tenant: name } of plan.machines) tenants.set(name, (await catalog.tenants.byName({ name }))!)
    return new Life(plan, control, services, tenants, resources.move())
  }

  /** Everything that is there: the points of each tenant, each restored, and the audit log. */
  async check(): Promise<void> {
    for (const [tenant, person] of this.#people) {
      const { points } = await person.call('points.list', { machine: null, limit: POINTS_MAX })
      const listed = points.map(({ id, machine, held, lockedUntilMs, lostBytes }) => ({
        id,
        machine,
        held,
        lockedUntilMs,
        lostBytes,
      }))
      this.#control.say({ fact: 'listed', tenant, points: listed })
      if (this.#plan.look) for (const { id } of points) await this.#restore(tenant, id)
    }
    this.#control.say({ fact: 'audit', brokenSeq: (await this.#services.audit.check()).brokenSeq })
    this.#control.say({ fact: 'checked' })
  }

  /** Agents come back with the backups that they were making, which go on. */
  async resume(): Promise<void> {
    for (const agent of this.#agents.values()) {
      const mine = this.#plan.open.filter(({ machine }) => machine === agent.machine)
      const wanted = this.#plan.steps
        .flat()
        .flatMap((op) => (op.op === 'resume' && op.machine === agent.machine ? [op] : []))
      const states = await agent.inventory(wanted.map(({ job }) => job))
      for (const { job, window } of wanted) {
        const open = mine.find((one) => one.job === job)!
        const state = states.find((one) => one.job === job)!
        await agent.resume(open, state, window)
      }
    }
  }

  async steps(): Promise<void> {
    for (const step of this.#plan.steps) await Promise.all(step.map((op) => this.#do(op, step.length === 1)))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync()
  }

  #session(tenant: Tenant, role: Role, subject: string, handlers: Handlers): MemoryLink {
    const claims = {
      issuer: 'model',
      audience: 'model',
      tenant: tenant.id,
      tenantName: tenant.name,
      subject,
      role,
      expiresAt: Number.MAX_SAFE_INTEGER,
      tokenId: NO_TOKEN,
    }
    const actor = {
      subject,
      role,
      tenant,
      agent: role === 'agent' ? subject : null,
      tokenId: NO_TOKEN,
      address: 'model',
    }
    const gateway = sessionHandlers(this.#services.door, actor, this.#services.memory.account(tenant.id, subject))
    const link = memoryLink(systemClock, { gateway, agent: handlers })
    this.#resources.defer(() => link.cut())
    const endsMs = Number.MAX_SAFE_INTEGER
    const told = { program: 'model', sinceMs: 0, serving: role === 'agent' }
    this.#services.registry.add({ actor, claims, endsMs, ...told, peer: link.gateway })
    return link
  }

  async #restore(tenant: string, point: string): Promise<void> {
    const disks = this.#known.get(point)
    if (disks === undefined)
      return this.#control.say({ fact: 'broken', message: `${tenant} lists ${point}, which nobody made` })
    for (const disk of disks) {
      const { wrong, error } = await this.#restoreDisk(tenant, point, disk)
      const { code = null, message = '' } = error ?? {}
      this.#control.say({ fact: 'restored', point, wrong, code, message })
      if (wrong !== null || error !== null) return
    }
  }

  async #restoreDisk(
    tenant: string,
    point: string,
    disk: DiskContent,
  ): Promise<{ wrong: number | null; error: ReturnType<typeof asVarveError> | null }> {
    const person = this.#people.get(tenant)!
    let at = 0
    let wrong: number | null = null
    const expect = (right: boolean): void => {
      if (!right) wrong ??= at
      at++
    }
    try {
      const call = person.open('image.download', { point, disk: disk.name, position: 0, skipDamaged: false })
      for await (const message of call.messages) {
        if (message[0] === LOAD.zero) for (let left = message[1]; left > 0; left--) expect(disk.chunks[at] === 0)
        if (message[0] === LOAD.chunks)
          for (const chunk of splitChunks({ heads: Buffer.from(message[1]), stored: Buffer.from(message[2]) }))
            expect(at < disk.chunks.length && Buffer.compare(plainOf(chunk), chunkAt(disk, at)) === 0)
      }
      await call.result
      if (at !== disk.chunks.length) wrong ??= at
      return { wrong, error: null }
    } catch (thrown) {
      return { wrong, error: asVarveError(thrown) }
    }
  }

  async #do(op: Op, alone: boolean): Promise<void> {
    if (op.op === 'resume') return
    if (op.op === 'intrude') return await this.#intrude()
    if (op.op === 'restore')
      return await this.#restore(this.#plan.machines.find(({ name }) => name === op.machine)!.tenant, op.point)
    if (op.op === 'backup') {
      const { tenant } = this.#plan.machines.find(({ name }) => name === op.machine)!
      return await this.#agents.get(op.machine)!.backup(op, this.#people.get(tenant)!)
    }
    const id = this.#nextWork++
    try {
      const points = op.op === 'prune' ? await this.#prune(op, true) : []
      this.#control.say({ fact: 'doing', id, op, points, alone })
      const { points: gone, report } = await this.#maintain(op)
      this.#control.say({ fact: 'done', id, op, points: gone, report, alone })
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      this.#control.say({ fact: 'refused', id, op, code, message })
    }
  }

  /** Another gateway on the folder whose lock was removed. */
  async #intrude(): Promise<void> {
    const { folder } = this.#plan
    rmSync(path.join(folder, LOCK_NAME), { force: true })
    try {
      await using _second = await Datastore.open({ folder, log: openLog({ level: 'silent' }), threads: 1 })
      this.#control.say({ fact: 'broken', message: 'a second gateway opens the folder' })
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      if (code !== 'STORE_LOCKED')
        this.#control.say({ fact: 'broken', message: `a second gateway ends with ${code}: ${message}` })
    }
  }

  async #prune({ tenant, points, keepLast }: Extract<Op, { op: 'prune' }>, dryRun: boolean): Promise<string[]> {
    const rules = points === null ? { keep: { ...KEEP_OFF, last: keepLast }, timeZone: 'UTC' } : null
    const params = { machine: null, group: null, rules, points: points === null ? null : [...points], dryRun }
    const pruned = await this.#people.get(tenant)!.call('points.prune', params)
    return pruned.points.filter(({ keptBy }) => keptBy.length === 0).map(({ point }) => point)
  }

  async #maintain(
    op: Exclude<Op, { op: 'resume' | 'restore' | 'backup' | 'intrude' }>,
  ): Promise<{ points: string[]; report: unknown }> {
    const person = this.#people.get(op.tenant)!
    if (op.op === 'prune') return { points: await this.#prune(op, false), report: null }
    if (op.op === 'hold') await person.call('points.hold', { point: op.point, held: op.held })
    if (op.op === 'lock') await person.call('points.lock', { point: op.point, untilMs: op.untilMs })
    const report = op.op === 'collect' ? await this.#collect(op) : op.op === 'verify' ? await this.#verify(op) : null
    return { points: [], report }
  }

  async #collect({ tenant, thresholdPercent }: Extract<Op, { op: 'collect' }>): Promise<CollectionReport> {
    const params = { dryRun: false, thresholdPercent, bytesPerSecond: null }
    const call = this.#people.get(tenant)!.open('store.collect', params)
    for await (const _ of call.messages);
    return await call.result
  }

  async #verify({ tenant }: Extract<Op, { op: 'verify' }>): Promise<VerifyReport> {
    const params = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }
    const call = this.#people.get(tenant)!.open('store.verify', params)
    for await (const _ of call.messages);
    return await call.result
  }
}

process.stdin.on('close', () => process.exit(1))
process.stdin.resume().unref()
const plan = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as LifePlan
const control = Control.begin(plan)
try {
  if (plan.faultsFrom === 'start') control.arm()
  const life = await Life.open(plan, control)
  control.say({ fact: 'opened' })
  await life.check()
  control.arm()
  await life.resume()
  await life.steps()
  if (!plan.close) control.die()
  await life[Symbol.asyncDispose]()
  control.say({ fact: 'closed' })
} catch (thrown) {
  const { code, message, stack = '' } = asVarveError(thrown)
  control.say({ fact: 'ended', code, message: `${message} ${stack}` })
}
// what a real gateway would leave running is for other tests to find
process.exit()

// A gateway's services without its port: a real datastore and authority, sessions over a socket that is only memory, a
// clock moved by hand.
import { announced } from '../support/announced.ts'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import type { AuditEntry } from '../../gateway/catalog/audit.ts'
import path from 'node:path'
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { Audit } from '../../gateway/auth/audit.ts'
import { openAuthority, type Authority } from '../../gateway/auth/authority.ts'
import { enrol, issueEnrolment, issueToken } from '../../gateway/auth/tokens.ts'
import { verifyBearer } from '../../gateway/auth/bearer.ts'
import { Datastore } from '../../gateway/datastore/datastore.ts'
import { Events } from '../../gateway/events/events.ts'
import { MachineStates } from '../../gateway/freshness/machine-states.ts'
import { Backups } from '../../gateway/jobs/backups.ts'
import { Restores } from '../../gateway/jobs/restores.ts'
import { openLog } from '../../protocol/host/log.ts'
import { NoticeDesk } from '../../gateway/notify/desk.ts'
import { Maintenance } from '../../gateway/maintenance/maintenance.ts'
import { MemoryBudget } from '../../gateway/memory/budget.ts'
import { Connection, type SessionParts } from '../../gateway/session/connection.ts'
import { SocketTransport } from '../../gateway/session/transport.ts'
import { Presence } from '../../gateway/service/presence.ts'
import { serviceOf, type Parts } from '../../gateway/service/service.ts'
import { Registry } from '../../gateway/session/registry.ts'
import { ASSERTION_LIFE_S, TOKEN_TYPE, type Claims, type Role } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import {
  decodeFrame,
  encodeFrame,
  errorOfFrame,
  FRAME,
  type Frame,
  type Hello,
  type Welcome,
} from '../../protocol/frames.ts'
import { Peer, type Handlers } from '../../protocol/peer.ts'
import { forge, NOW_MS } from './auth/test-authority.ts'
import { HandClock } from '../support/hand-clock.ts'
import { temporaryFolder } from './datastore/fixture.ts'

const TTL_MS = 60 * 60 * 1000

export const HELLO: Hello = { versionMin: 1, versionMax: 1, features: [], program: 'test', serving: false, token: null }

/** All that a gateway is made of but its ports. */
export type TestParts = Parts & SessionParts

/** The calling side of one connection. */
export class MemorySession {
  /** What the gateway sent before a peer took over. */
  readonly frames: Frame[] = []
  /** The error with which the gateway closed the socket. */
  readonly closed: Promise<VarveError>
  readonly connection: Connection
  #peer: Peer | null = null
  #reportClosed!: (error: VarveError) => void
  #wake: () => void = () => {}

  constructor(services: TestParts, claims: Claims | null) {
    this.closed = new Promise((resolve) => (this.#reportClosed = resolve))
    const transport = new SocketTransport({
      open: true,
      send: (bytes, sent) => {
        const copy = Uint8Array.from(bytes)
        setImmediate(() => this.#receive(copy))
        sent()
      },
      pong: (_data, sent) => sent(),
      close: (error: VarveError): void => {
        setImmediate(() => {
          this.connection.closed()
          this.#reportClosed(error)
          this.#wake()
        })
      },
    })
    this.connection = new Connection({ parts: services, transport, claims, address: '192.0.2.1' })
  }

  get peer(): Peer {
    if (this.#peer === null) throw new Error('no welcome came')
    return this.#peer
  }

  send(frame: Frame): void {
    this.connection.receive(encodeFrame(frame))
  }

  /** The gateway's first frame. */
  async first(): Promise<Frame> {
    while (this.frames.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    return this.frames[0]!
  }

  /** Says hello; the welcome, or the error that came in its place. */
  async hello(services: TestParts, hello: Partial<Hello>, handlers: Handlers = {}): Promise<Welcome> {
    this.send([FRAME.hello, { ...HELLO, ...hello }])
    const frame = await this.first()
    if (frame[0] === FRAME.error) throw errorOfFrame(frame[2], frame[3], frame[4])
    if (frame[0] !== FRAME.welcome) throw new Error(`not a welcome: ${frame[0]}`)
    const send = (bytes: Uint8Array): void => {
      const copy = Uint8Array.from(bytes)
      setImmediate(() => this.connection.receive(copy))
    }
    const transport = { bufferedBytes: 0, send, close: () => this.connection.closed() }
    this.#peer = new Peer({ opener: true, transport, handlers, clock: services.clock })
    for (const late of this.frames.slice(1)) this.#peer.receive(encodeFrame(late))
    return frame[1]
  }

  #receive(bytes: Uint8Array): void {
    if (this.#peer !== null) return this.#peer.receive(bytes)
    this.frames.push(decodeFrame(bytes))
    this.#wake()
  }
}

export interface TestAgent {
  readonly id: string
  readonly tenant: Tenant
  /** An assertion of now, or with what a test wants otherwise. */
  assertion(claims?: Record<string, unknown>): string
}

export class TestServices implements AsyncDisposable {
  readonly services: TestParts
  readonly clock: HandClock
  readonly acme: Tenant
  readonly other: Tenant
  /** Every token that was handed out. */
  readonly tokens: string[] = []
  readonly #resources: AsyncDisposableStack

  constructor(services: TestParts, clock: HandClock, tenants: [Tenant, Tenant], resources: AsyncDisposableStack) {
    this.services = services
    this.clock = clock
    ;[this.acme, this.other] = tenants
    this.#resources = resources
  }

  static async open(): Promise<TestServices> {
    await using resources = new AsyncDisposableStack()
    const clock = new HandClock(NOW_MS)
    const log = openLog({ level: 'silent' })
    const { path: folder } = resources.use(await temporaryFolder())
    const datastore = resources.use(await Datastore.open({ folder, log, threads: 1, nowMs: () => clock.now() }))
    const { catalog } = datastore
    const add = (name: string): Promise<Tenant> =>
      catalog.tenants.add({ name, id: randomUUID(), idKey: randomBytes(32), chunkBytes: 4096, nowMs: NOW_MS })
    const tenants: [Tenant, Tenant] = [await add('acme'), await add('other')]
    const authority = await openAuthority({ folder, catalog, nowMs: NOW_MS })
    const audit = resources.use(new Audit({ catalog, onError: () => {} }))
    const events = resources.use(new Events({ catalog, clock, log }))
    const presence = resources.use(new Presence({ events, agents: catalog.agents, clock, log }))
    const registry = new Registry(clock, presence)
    const backups = new Backups({ datastore, agents: registry, clock, log, events })
    const restores = new Restores({ catalog, agents: registry, events, clock, log })
    const states = new MachineStates({ catalog, online: (agent) => registry.online(agent), clock })
    const maintenance = resources.use(new Maintenance({ datastore, clock, log }))
    const desk = await NoticeDesk.open({ folder: path.join(folder, 'keys'), catalog, clock })
    resources.defer(() => backups.uploads.settled())
    resources.use(restores)
    resources.defer(() => registry.endWhere(new VarveError('GOING_AWAY', 'the test is over')))
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
    return new TestServices(services, clock, tenants, resources.move())
  }

  get authority(): Authority {
    return this.services.authority
  }

  async token(
    role: Exclude<Role, 'agent'>,
    tenant = this.acme,
    subject = `a ${role}`,
    ttlMs = TTL_MS,
  ): Promise<string> {
    const nowMs = this.clock.now()
    const owner = role === 'platform' ? null : tenant
    const { token } = await issueToken(this.authority, { tenant: owner, subject, role, ttlMs, nowMs })
    this.tokens.push(token)
    return token
  }

  async enrolment(tenant = this.acme): Promise<string> {
    const nowMs = this.clock.now()
    const { token } = await issueEnrolment(this.authority, { tenant, ttlMs: TTL_MS, nowMs })
    this.tokens.push(token)
    return token
  }

  async agent(tenant = this.acme, host = 'host1'): Promise<TestAgent> {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const x = publicKey.export({ format: 'jwk' }).x!
    const request = { token: await this.enrolment(tenant), publicKey: x, host, nowMs: this.clock.now() }
    const { agentId: id, issuer: aud } = await enrol(this.authority, request)
    const assertion = (claims: Record<string, unknown> = {}): string => {
      const iat = Math.floor(this.clock.now() / 1000)
      const payload = { iss: id, sub: id, aud, jti: randomUUID(), iat, exp: iat + ASSERTION_LIFE_S, ...claims }
      const token = forge({ alg: 'EdDSA', typ: TOKEN_TYPE.agent }, payload, privateKey)
      this.tokens.push(token)
      return token
    }
    return { id, tenant, assertion }
  }

  /** A socket whose upgrade carried no token. */
  connect(): MemorySession {
    return new MemorySession(this.services, null)
  }

  /** An open session with this token in its upgrade. */
  async session(token: string, hello: Partial<Hello> = {}, handlers: Handlers = {}): Promise<MemorySession> {
    const session = new MemorySession(this.services, await verifyBearer(this.authority, token, this.clock.now()))
    await session.hello(this.services, hello, handlers)
    return session
  }

  /** A person's calls. */
  async person(role: Exclude<Role, 'agent'>, tenant = this.acme): Promise<Peer> {
    return (await this.session(await this.token(role, tenant))).peer
  }

  /** The calls of an agent that serves these machines. */
  async serve(agent: TestAgent, machines: string[], handlers: Handlers = {}): Promise<Peer> {
    const { peer } = await this.session(agent.assertion(), { serving: true }, handlers)
    await peer.call('agent.inventory', { host: 'host1', machines: machines.map((name) => announced(name)), jobs: [] })
    return peer
  }

  /** Every audit entry of a tenant. */
  audited(tenant: Tenant | null): Promise<AuditEntry[]> {
    return this.services.datastore.catalog.audit.list({ tenant: tenant?.id ?? null, afterSeq: 0, limit: 1000 })
  }

  /** Moves the clock in small steps, so that pings are answered on the way. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 5000) {
      this.clock.advance(Math.min(left, 5000))
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync()
  }
}

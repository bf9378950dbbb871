// A real gateway inside the test's process, on a free loopback port, with tenants, tokens, agents and sessions.
import { announced } from './announced.ts'
import path from 'node:path'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { openAuthority, type Authority } from '../../gateway/auth/authority.ts'
import { issueEnrolment, issueToken } from '../../gateway/auth/tokens.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import { Gateway } from '../../gateway/gateway.ts'
import { openLog, type Log } from '../../protocol/host/log.ts'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import type { Role } from '../../protocol/claims.ts'
import type { Session } from '../../protocol/client.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock, Handlers, Peer } from '../../protocol/peer.ts'

const TTL_MS = 60 * 60 * 1000

/** The tenant that the helpers mean when none is named; it is there from the start. */
export const TENANT = 'acme'

export interface TestGatewayOptions {
  /** Its data folder, made if needed; the same folder again is the same gateway restarted. */
  readonly folder: string
  /** PEM certificate and key; plain where there are none. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly ca?: Buffer }
  readonly log?: Log
  readonly clock?: Clock
  /** It works by itself, as one that is served. */
  readonly works?: boolean
  readonly metricsToken?: string
  readonly metricsListen?: { readonly host: string; readonly port: number }
  /** A fixed port, for a gateway that comes back at the same address. */
  readonly port?: number
  /** Where the built console is; the program's own by default. */
  readonly consoleFolder?: string
}

export interface SessionWishes {
  /** An agent that serves its machines. */
  readonly serving?: boolean
  readonly handlers?: Handlers
}

/** A running gateway and what a test does around it; `await using` stops it gracefully. */
export class TestGateway implements AsyncDisposable {
  /** `ws://127.0.0.1:PORT`, without a path. */
  readonly url: string
  /** The same as `http://` or `https://`. */
  readonly httpUrl: string
  /** Where metrics have a listener of their own; null without. */
  readonly metricsUrl: string | null
  readonly folder: string
  /** The catalog, opened beside the gateway as its commands do. */
  readonly catalog: Catalog
  readonly authority: Authority
  readonly #ca: Buffer | null
  readonly #resources: AsyncDisposableStack

  constructor(parts: {
    url: string
    metricsUrl: string | null
    folder: string
    catalog: Catalog
    authority: Authority
    ca: Buffer | null
    resources: AsyncDisposableStack
  }) {
    this.url = parts.url
    this.httpUrl = parts.url.replace(/^ws/u, 'http')
    this.metricsUrl = parts.metricsUrl
    this.folder = parts.folder
    this.catalog = parts.catalog
    this.authority = parts.authority
    this.#ca = parts.ca
    this.#resources = parts.resources
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  /** Adds a tenant; one of that name that is there already is given as it is. */
  async addTenant(name: string, chunkBytes = CHUNK_BYTES_DEFAULT): Promise<Tenant> {
    const known = await this.catalog.tenants.byName({ name })
    if (known !== null) return known
    const idKey = randomBytes(ID_KEY_BYTES)
    return await this.catalog.tenants.add({ name, id: randomUUID(), idKey, chunkBytes, nowMs: Date.now() })
  }

  /** A person's token. */
  async tokenFor(role: Exclude<Role, 'agent'>, tenantName = TENANT, ttlMs = TTL_MS): Promise<string> {
    const tenant = role === 'platform' ? null : await this.addTenant(tenantName)
    const nowMs = Date.now()
    const subject = `test ${role}`
    const owner = role === 'platform' ? null : tenant
    return (await issueToken(this.authority, { tenant: owner, subject, role, ttlMs, nowMs })).token
  }

  /** A one-time enrolment token. */
  async enrolmentToken(tenantName = TENANT): Promise<string> {
    const tenant = await this.addTenant(tenantName)
    return (await issueEnrolment(this.authority, { tenant, ttlMs: TTL_MS, nowMs: Date.now() })).token
  }

  /** Makes `state` the state folder of a newly enrolled agent, over the gateway's HTTP port as a host does it. */
  async enrolAgent(state: string, tenantName = TENANT): Promise<Identity> {
    await enrolHost({ gateway: this.url, ca: this.#ca, token: await this.enrolmentToken(tenantName), state })
    return await Identity.load(state)
  }

  /** A session with this token in the upgrade; it ends with the test gateway. */
  async sessionAs(token: string, { serving = false, handlers = {} }: SessionWishes = {}): Promise<Session> {
    const ca = this.#ca
    const program = 'test'
    const session = await dial({ gateway: this.url, ca, token, program, serving, handlers, clock: systemClock })
    this.#resources.defer(() => session.peer.close(new VarveError('CANCELLED', 'the test is over')))
    return session
  }

  /** The same, for a test that wants only the calls. */
  async connectAs(token: string, wishes: SessionWishes = {}): Promise<Peer> {
    return (await this.sessionAs(token, wishes)).peer
  }

  /** A serving session of an enrolled agent that has declared these machines. */
  async connectAgent(identity: Identity, machines: readonly string[], handlers: Handlers = {}): Promise<Peer> {
    const peer = await this.connectAs(await identity.assertion(Date.now()), { serving: true, handlers })
    await peer.call('agent.inventory', {
      host: hostname(),
      machines: machines.map((name) => announced(name)),
      jobs: [],
    })
    return peer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

/** Starts a gateway that has the tenant TENANT. */
export const startGateway = async (options: TestGatewayOptions): Promise<TestGateway> => {
  const { folder, tls, clock = systemClock, port = 0, log = openLog({ level: 'silent' }) } = options
  await using resources = new AsyncDisposableStack()
  const listen = {
    host: '127.0.0.1',
    port,
    tls: tls === undefined ? null : { cert: tls.cert, key: tls.key },
  }
  const { metricsToken = null, metricsListen = null, works = false, consoleFolder = null } = options
  const wishes = { metricsToken, metricsListen, works, consoleFolder }
  const opened = await Gateway.open({ folder, listen, log, clock, ...wishes })
  const { url, metricsUrl } = resources.use(opened)
  const catalog = resources.use(openLocal(path.join(folder, CATALOG_NAME)))
  const authority = await openAuthority({ folder, catalog, nowMs: Date.now() })
  const ca = tls?.ca ?? tls?.cert ?? null
  const gateway = new TestGateway({ url, metricsUrl, folder, catalog, authority, ca, resources: resources.move() })
  await gateway.addTenant(TENANT)
  return gateway
}

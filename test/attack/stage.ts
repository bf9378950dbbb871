// One gateway as a process of its own, with a data folder of its own, and what a scenario is given around it.
import { announced } from '../support/announced.ts'
import path from 'node:path'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { openAuthority, type Authority } from '../../gateway/auth/authority.ts'
import { issueEnrolment, issueToken } from '../../gateway/auth/tokens.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLocal, type LocalCatalog } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Handlers, Peer } from '../../protocol/peer.ts'
import { gatewayProgram } from '../demo/commands.ts'
import { accepts, freePort, Service } from '../demo/service.ts'
import type { AttackerAgent, Stage } from './scenario.ts'

const READY_TIMEOUT_MS = 60_000
const TOKEN_TTL_MS = 60 * 60 * 1000

/** Resident memory of a process in bytes; null once it has ended. */
export const residentBytes = async (pid: number): Promise<number | null> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
  return kibibytes === undefined ? null : Number(kibibytes) * 1024
}

/** The gateway under attack; disposing it stops the gateway. */
export class AttackedGateway implements AsyncDisposable {
  readonly url: string
  readonly pid: number
  readonly #folder: string
  readonly #service: Service
  readonly #catalog: LocalCatalog
  readonly #authority: Authority
  readonly #resources: AsyncDisposableStack

  private constructor(parts: {
    url: string
    folder: string
    service: Service
    catalog: LocalCatalog
    authority: Authority
    resources: AsyncDisposableStack
  }) {
    this.url = parts.url
    this.pid = parts.service.pid
    this.#folder = parts.folder
    this.#service = parts.service
    this.#catalog = parts.catalog
    this.#authority = parts.authority
    this.#resources = parts.resources
  }

  /** `heapMb`: of the gateway's JavaScript heap; `options`: of `serve`. */
  static async start(
    folder: string,
    { heapMb, options = [] }: { readonly heapMb: number; readonly options?: readonly string[] },
  ): Promise<AttackedGateway> {
    await using resources = new AsyncDisposableStack()
    const data = path.join(folder, 'data')
    await mkdir(data, { recursive: true })
    const port = await freePort()
    const listen = ['--data', data, '--listen', `127.0.0.1:${port}`, '--log-level', 'error']
    const args = [`--max-old-space-size=${heapMb}`, gatewayProgram, 'serve', ...listen, ...options]
    const service = resources.use(
      await Service.start('gateway', path.join(folder, 'gateway.log'), process.execPath, args),
    )
    await service.until(() => accepts(port), READY_TIMEOUT_MS)
    const catalog = resources.use(openLocal(path.join(data, CATALOG_NAME)))
    const authority = await openAuthority({ folder: data, catalog, nowMs: Date.now() })
    const url = `ws://127.0.0.1:${port}`
    return new AttackedGateway({ url, folder, service, catalog, authority, resources: resources.move() })
  }

  /** The last lines of its log. */
  log(): Promise<string> {
    return this.#service.tail()
  }

  addTenant(name: string): Promise<Tenant> {
    const fresh = { name, id: randomUUID(), idKey: randomBytes(ID_KEY_BYTES), nowMs: Date.now() }
    return this.#catalog.tenants.add({ ...fresh, chunkBytes: CHUNK_BYTES_DEFAULT })
  }

  /** A newly enrolled agent of a tenant; its key lies in this folder. */
  async enrol(tenant: Tenant, state: string): Promise<Identity> {
    const one = { tenant, ttlMs: TOKEN_TTL_MS, nowMs: Date.now() }
    const { token } = await issueEnrolment(this.#authority, one)
    await enrolHost({ gateway: this.url, ca: null, token, state })
    return Identity.load(state)
  }

  async connect(token: string, serving = false, handlers: Handlers = {}): Promise<Peer> {
    const session = { gateway: this.url, ca: null, token, program: 'attack', serving, handlers, clock: systemClock }
    return (await dial(session)).peer
  }

  /** What one scenario is given; disposing it ends its sessions. */
  async stage(name: string, say: (line: string) => void): Promise<Stage & AsyncDisposable> {
    const folder = path.join(this.#folder, name)
    await mkdir(folder)
    const tenant = await this.addTenant(`attacker-${name}`)
    const peers: Peer[] = []
    const connect = async (token: string, serving?: boolean, handlers?: Handlers): Promise<Peer> => {
      const peer = await this.connect(token, serving, handlers)
      peers.push(peer)
      return peer
    }
    let agents = 0
    return {
      url: this.url,
      folder,
      tenant,
      catalog: this.#catalog,
      say,
      agent: async (machines, handlers): Promise<AttackerAgent> => {
        const identity = await this.enrol(tenant, path.join(folder, `agent-${agents++}`))
        const assertion = (): Promise<string> => identity.assertion(Date.now())
        const peer = await connect(await assertion(), true, handlers)
        await peer.call('agent.inventory', {
          host: hostname(),
          machines: machines.map((name) => announced(name)),
          jobs: [],
        })
        return {
          id: identity.record.agentId,
          peer,
          assertion,
          connect: async (wishes = {}) => connect(await assertion(), wishes.serving, wishes.handlers),
        }
      },
      person: async (role) => {
        const subject = `attacking ${role}`
        const token = { tenant, subject, role, ttlMs: TOKEN_TTL_MS, nowMs: Date.now() }
        return connect((await issueToken(this.#authority, token)).token)
      },
      [Symbol.asyncDispose]: async () => {
        for (const peer of peers) peer.close(new VarveError('CANCELLED', 'the attack is over'))
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

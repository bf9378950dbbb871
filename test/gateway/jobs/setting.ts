// Backups with an agent in memory and a real datastore: one machine, its connections, and what it says.
import type { MachineRow } from '../../../gateway/catalog/machines.ts'
import { Backups } from '../../../gateway/jobs/backups.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DOWN, RUN, UP, type Job, type Params } from '../../../protocol/methods.ts'
import type { Handlers, OpenCall, Peer } from '../../../protocol/peer.ts'
import { fullDisk } from '../catalog.ts'
import { Stand } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { testAccount } from '../../support/served-call.ts'
import { memoryLink, type MemoryLink } from '../memory-link.ts'

export class Setting implements AsyncDisposable {
  readonly stand: Stand
  readonly machine: MachineRow
  readonly backups: Backups
  readonly clock = new HandClock(1000)
  readonly orders: Params<'agent.backup'>[] = []
  readonly cancelled: string[] = []
  readonly links: MemoryLink[] = []
  readonly account = testAccount()

  constructor(stand: Stand, machine: MachineRow) {
    this.stand = stand
    this.machine = machine
    const agents = {
      said: () => null,
      agent: (id: string): Peer => this.#agent(id),
      find: (id: string): Peer | null => (id === machine.agent ? (this.links.at(-1)?.gateway ?? null) : null),
    }
    this.backups = new Backups({
      datastore: stand.datastore,
      agents,
      clock: this.clock,
      log: openLog({ level: 'silent' }),
    })
  }

  static async open(): Promise<Setting> {
    const stand = await Stand.open()
    return new Setting(stand, await stand.machine('db1'))
  }

  #agent(id: string): Peer {
    const link = this.links.at(-1)
    if (link === undefined || id !== this.machine.agent) throw new VarveError('AGENT_OFFLINE', 'not here')
    return link.gateway
  }

  /** A connection of the machine's agent; further ones replace the last. */
  connect(handlers: Handlers = {}): MemoryLink {
    const { stand, backups, machine } = this
    const { tenant } = stand
    const link = memoryLink(this.clock, {
      gateway: {
        'image.upload': (params, call) =>
          backups.receive(tenant, machine.agent, params, { call, account: this.account }),
        'jobs.watch': ({ job }, call) => backups.watch(tenant, job, call),
      },
      agent: {
        'agent.backup': async (order) => {
          this.orders.push(order)
          return {}
        },
        'agent.cancel': async ({ job }) => {
          this.cancelled.push(job)
          return {}
        },
        ...handlers,
      },
    })
    this.links.push(link)
    return link
  }

  start(full = false, compare = false): Promise<{ job: string }> {
    return this.backups.start({ tenant: this.stand.tenant, machine: this.machine, subject: 'anna', full, compare })
  }

  begin(job: string, chunks = 2, timeMs = 70): Promise<void> {
    const order = this.orders.find((one) => one.job === job)
    const reason = order?.full === true ? 'requested' : (order?.base ?? null) === null ? 'first' : 'bitmap-missing'
    const disks = [fullDisk('vda', chunks * CHUNK_BYTES, reason)]
    const begun = { job, timeMs, consistency: 'crash', note: null, configuration: '{"cpu":1}' } as const
    return this.backups.begin(this.machine.agent, { ...begun, leftOut: [], checkpoint: true, disks })
  }

  fail(job: string, code = 'QMP_ERROR'): Promise<void> {
    return this.backups.fail({ job, agent: this.machine.agent, code, message: 'why' })
  }

  commit(job: string): Promise<{ point: string }> {
    return this.backups.commit(this.stand.tenant, this.machine.agent, { job, bytesRead: 9 })
  }

  async view(job: string): Promise<Job> {
    return (await this.backups.get(this.stand.tenant, job)).view
  }

  reconcile(jobs: string[]): ReturnType<Backups['reconcile']> {
    return this.backups.reconcile(this.stand.tenant, this.machine.agent, jobs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { cut } of this.links) cut()
    await this.backups.uploads.settled()
    await this.stand[Symbol.asyncDispose]()
  }
}

export const zeroes = (count: number): [0, [[0, number]]] => [UP.runs, [[RUN.zero, count]]]

/** Waits for the first message of an upload. */
export const started = async (call: OpenCall<'image.upload'>): Promise<number> => {
  const next = await call.messages[Symbol.asyncIterator]().next()
  if (next.done === true || next.value[0] !== DOWN.start) throw new Error('not started')
  return next.value[1].position
}

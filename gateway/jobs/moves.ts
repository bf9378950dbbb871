// Machines that move within a site: from what connected agents say, to the catalog's transaction and its entry.
import type { Tenant } from '../catalog/tenants.ts'
import type { Declared, MachineRow } from '../catalog/machines.ts'
import type { AuditRecord } from '../catalog/audit-record.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { asVarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock, Peer } from '../../protocol/peer.ts'
import { judgeClaim, refusalOf, type Said, type Verdict } from './handover.ts'

/** What agents say while they are connected. */
export interface Whereabouts {
  /** Null where the agent is not connected, or does not name the machine. */
  said(agent: string, machine: string): Said | null
  /** The connection of an agent, or null. */
  find(agent: string): Peer | null
}

interface Refused {
  readonly machine: string
  readonly code: ErrorCode
  readonly message: string
}

interface MovesOptions {
  readonly catalog: Pick<Catalog, 'agents' | 'machines'>
  readonly agents: Whereabouts
  readonly clock: Clock
  readonly log: Log
}

export class Moves {
  readonly #options: MovesOptions
  /** What was answered to the claims of a connection: the log has each answer once. */
  readonly #answers = new WeakMap<Peer, Map<string, Verdict>>()

  constructor(options: MovesOptions) {
    this.#options = options
  }

  /** Judges what an agent says of machines that others have: takes over what goes to it, and gives the refusals of the rest. */
  async claim(tenant: Tenant, agent: string, held: Declared['held']): Promise<Refused[]> {
    if (held.length === 0) return []
    const { catalog, agents } = this.#options
    const mates = new Set((await catalog.agents.mates({ tenant: tenant.id, id: agent })).map(({ id }) => id))
    const refused: Refused[] = []
    for (const row of held) {
      const claimant = agents.said(agent, row.name) ?? { uuid: null, here: false }
      const claim = { machine: row, sameSite: mates.has(row.agent), holder: agents.said(row.agent, row.name), claimant }
      const verdict = judgeClaim(claim)
      this.#note(tenant, agent, row, verdict)
      if (verdict !== 'goes') refused.push(refusalOf(verdict, row))
      else if (!(await this.#move(tenant, row, agent, claimant.uuid))) refused.push(refusalOf('no-site', row))
    }
    return refused
  }

  /** Hands over those of an agent's machines that have left it and run at another agent of its site. */
  async release(tenant: Tenant, agent: string, gone: readonly string[]): Promise<void> {
    if (gone.length === 0) return
    const { catalog, agents } = this.#options
    const mates = await catalog.agents.mates({ tenant: tenant.id, id: agent })
    for (const name of gone) {
      if (!mates.some(({ id }) => agents.said(id, name)?.here === true)) continue
      const row = await catalog.machines.get({ tenant: tenant.id, name })
      if (row.agent === agent) await this.#follow(tenant, row, mates)
    }
  }

  /** The machine, with the agent that it runs at where that is another one of the site, to which it is handed over. */
  async located(tenant: Tenant, row: MachineRow): Promise<MachineRow> {
    const { catalog, agents } = this.#options
    if (row.site === null || agents.said(row.agent, row.name)?.here === true) return row
    return this.#follow(tenant, row, await catalog.agents.mates({ tenant: tenant.id, id: row.agent }))
  }

  async #follow(tenant: Tenant, row: MachineRow, mates: readonly { id: string }[]): Promise<MachineRow> {
    const { catalog, agents } = this.#options
    const holder = agents.said(row.agent, row.name)
    for (const { id } of mates) {
      const claimant = agents.said(id, row.name)
      if (claimant === null || judgeClaim({ machine: row, sameSite: true, holder, claimant }) !== 'goes') continue
      if (await this.#move(tenant, row, id, claimant.uuid))
        return catalog.machines.get({ tenant: tenant.id, name: row.name })
    }
    return row
  }

  /** The change with its entry, by whomever it was asked; false where it is not as it was judged any more. */
  async #move(tenant: Tenant, row: MachineRow, to: string, uuid: string | null): Promise<boolean> {
    const { catalog, clock, log } = this.#options
    const { name, agent: from, host, site, uuid: known } = row
    const entry: AuditRecord = {
      timeMs: clock.now(),
      tenant: tenant.id,
      subject: to,
      role: 'agent',
      action: 'machines.move',
      resource: `machine=${name} agent=${to}`,
      outcome: 'ok',
      details: { from, host, site, uuid },
    }
    try {
      await catalog.machines.move({ tenant: tenant.id, name, from, to, known, uuid }, entry)
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'EXISTS') throw thrown
      return false
    }
    log.info({ tenant: tenant.name, machine: name, from, to, site }, 'a machine has moved within its site')
    return true
  }

  #note(tenant: Tenant, agent: string, { name, host }: MachineRow, verdict: Verdict): void {
    const peer = this.#options.agents.find(agent)
    if (peer === null) return
    const answers = this.#answers.get(peer) ?? new Map<string, Verdict>()
    this.#answers.set(peer, answers)
    if (answers.get(name) === verdict) return
    answers.set(name, verdict)
    if (verdict === 'goes' || verdict === 'elsewhere') return
    const about = { tenant: tenant.name, machine: name, agent, holder: host, verdict }
    this.#options.log.warn(about, 'a machine stays with its agent though another one says that it runs there')
  }
}

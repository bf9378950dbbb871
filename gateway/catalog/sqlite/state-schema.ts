// The triggers that note in `tenant.state_dirty` which tenants have changed in what packs must know of them.
import { RECORD } from '../../packs/format.ts'

/** Changes of a table after which the packs lack the state of the row's tenant. */
interface Noted {
  readonly inserted?: boolean
  /** All columns, or some. */
  readonly updated?: true | string
  readonly deleted?: boolean
  /** What else changes in the tenant. */
  readonly also?: string
}

// `tenant.plans` is another number after each change of the tenant's plans: no two states of them share one, even if a
// transaction that changed them is undone, so what was derived from plans is known to hold by it
const NEXT_PLANS = 'plans = abs(random() % 9007199254740991)'

// a new restore point needs no note, as its manifest has it
const NOTED: Readonly<Record<string, Noted>> = {
  agent: { inserted: true, updated: 'host, public_key, revoked_ms, site' },
  machine: { inserted: true, updated: true, deleted: true },
  plan: { inserted: true, updated: true, deleted: true, also: NEXT_PLANS },
  exclusion: { inserted: true, updated: true, deleted: true },
  point: { updated: 'held, locked_ms', deleted: true },
  missed: { inserted: true, deleted: true },
}

const dirty = (tenant: string, also?: string): string =>
  `UPDATE tenant SET ${['state_dirty = 1', ...(also === undefined ? [] : [also])].join(', ')} WHERE id = ${tenant}`

const triggersOf = (table: string, { inserted, updated, deleted, also }: Noted): string[] => {
  const trigger = (name: string, event: string, row: 'NEW' | 'OLD'): string =>
    `CREATE TRIGGER state_${table}_${name} AFTER ${event} ON ${table} BEGIN ${dirty(`${row}.tenant`, also)}; END;\n`
  return [
    ...(inserted === true ? [trigger('added', 'INSERT', 'NEW')] : []),
    ...(updated === undefined ? [] : [trigger('changed', updated === true ? 'UPDATE' : `UPDATE OF ${updated}`, 'NEW')]),
    ...(deleted === true ? [trigger('removed', 'DELETE', 'OLD')] : []),
  ]
}

export const STATE_SCHEMA = `
${Object.entries(NOTED)
  .flatMap(([table, noted]) => triggersOf(table, noted))
  .join('')}
CREATE TRIGGER state_tenant AFTER UPDATE OF name, quota_soft, quota_hard ON tenant BEGIN ${dirty('NEW.id')}; END;
CREATE TRIGGER state_gateway AFTER INSERT ON setting WHEN NEW.name = 'gateway' BEGIN UPDATE tenant SET state_dirty = 1; END;
CREATE TRIGGER state_job AFTER UPDATE OF state ON job WHEN NEW.state = 'failed' BEGIN ${dirty('NEW.tenant')}; END;
CREATE TRIGGER state_damaged AFTER INSERT ON damage WHEN NEW.type = ${RECORD.state} BEGIN ${dirty('NEW.tenant')}; END;
`

// The migration that brings plans, and machines that are left out of them on purpose.
import { planFact, plansOfOlder, type OlderMachine, type OlderRetention } from '../older-rules.ts'
import type { Sql } from './sql.ts'
import { tallyAgain, tallyEnd, tallyFirst } from './tally-schema.ts'

/** The version of this migration. */
const VERSION = 10

const noted = (trigger: string, on: string, row: 'NEW' | 'OLD', also = ''): string => `
CREATE TRIGGER ${trigger} AFTER ${on} BEGIN UPDATE tenant SET state_dirty = 1${also} WHERE id = ${row}.tenant; END;`

// tenant.plans is another number after each change of the tenant's plans: no two states of them share one, even if a
// transaction that changed them is undone, so what was derived from plans is known to hold by it
const NEXT = ', plans = abs(random() % 9007199254740991)'

const TABLES = `
CREATE TABLE plan (
  tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE exclusion (
  tenant INTEGER NOT NULL REFERENCES tenant, machine TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL, until_ms INTEGER, PRIMARY KEY (tenant, machine)
) STRICT, WITHOUT ROWID;
ALTER TABLE tenant ADD COLUMN plans INTEGER NOT NULL DEFAULT 0;
${noted('state_plan_added', 'INSERT ON plan', 'NEW', NEXT)}
${noted('state_plan', 'UPDATE ON plan', 'NEW', NEXT)}
${noted('state_plan_removed', 'DELETE ON plan', 'OLD', NEXT)}
${noted('state_exclusion_added', 'INSERT ON exclusion', 'NEW')}
${noted('state_exclusion', 'UPDATE ON exclusion', 'NEW')}
${noted('state_exclusion_removed', 'DELETE ON exclusion', 'OLD')}
${tallyFirst('plan', VERSION)}
${tallyFirst('exclusion', VERSION)}
`

// what policies and retention said is in plans now
const REMOVED = `
${tallyEnd('machine')}
ALTER TABLE machine DROP COLUMN policy;
${tallyAgain('machine', VERSION)}
DROP TABLE retention;
DELETE FROM tally WHERE name = 'retention';
`

export const PLAN_SCHEMA = (sql: Sql): void => {
  sql.script(TABLES)
  for (const { id } of sql.all<{ id: number }>('SELECT id FROM tenant')) {
    const retention = sql.all<OlderRetention>('SELECT scope, name, rules FROM retention WHERE tenant = ?', id)
    const machines = sql.all<OlderMachine>(
      'SELECT name, member_of AS "group", policy FROM machine WHERE tenant = ? ORDER BY name',
      id,
    )
    for (const { name, rules } of plansOfOlder({ retention, machines }).map(planFact))
      sql.run('INSERT INTO plan (tenant, name, rules) VALUES (?, ?, ?)', id, name, rules)
  }
  sql.script(REMOVED)
}

// The commands that take plans from a TOML file and write them to one.
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { text as textOf } from 'node:stream/consumers'
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import type { Result } from '../../protocol/methods.ts'
import { everyRow } from '../../protocol/paging.ts'
import type { Plan } from '../../protocol/plans.ts'
import { noPlan } from '../plans/differences.ts'
import { planNameOf, tenantOption, toGateway, type Common } from './options.ts'
import { plansOfText, textOfPlans } from './plan-file.ts'
import { withTenant, type Remote } from './remote.ts'
import { differenceLines } from './report-plans.ts'

/** All plans of the tenant, by name. */
export const allPlans = ({ peer, signal }: Remote): Promise<Plan[]> =>
  everyRow(
    (after) => peer.call('plans.list', { after }, { signal }),
    (page) => page.plans,
  )

/** Asks on the terminal; false for anything but yes. */
const isAgreed = async (question: string, signal: AbortSignal): Promise<boolean> => {
  const asked = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(?:es)?$/iu.test((await asked.question(`${question} [y/N] `, { signal })).trim())
  } finally {
    asked.close()
  }
}

interface ApplyOptions extends Common {
  readonly file: string
  readonly replace: boolean
  readonly dryRun: boolean
  readonly yes: boolean
}

type Applied = Result<'plans.apply'>

/** What is printed of changes that were made, or would be. */
export const printChanges = ({ changes, warnings }: Applied, { json }: { readonly json: boolean }): void => {
  if (json) return
  differenceLines(changes).forEach(print)
  warnings.forEach(remark)
}

const NOTHING = 'Nothing changes: the plans are as the file has them.'

const apply = async (remote: Remote, options: ApplyOptions, plans: ReturnType<typeof plansOfText>): Promise<void> => {
  const { peer, signal } = remote
  const { json, replace, dryRun, yes, file } = options
  const call = (dry: boolean): Promise<Applied> => peer.call('plans.apply', { plans, replace, dryRun: dry }, { signal })
  const planned = await call(true)
  const nothing = planned.changes.length === 0
  if (!json && nothing) print(NOTHING)
  printChanges(planned, options)
  if (dryRun || nothing) return printJson({ dryRun, ...planned })
  if (!yes) {
    const mayAsk = process.stdin.isTTY && file !== '-' && !json
    if (!mayAsk) throw new VarveError('PARAMS_INVALID', 'there is no terminal to ask on: say --yes to apply this')
    if (!(await isAgreed('Apply this?', signal))) {
      print('Nothing was changed.')
      return
    }
  }
  const applied = await call(false)
  printJson({ dryRun, ...applied })
  if (!json) print(`Applied: ${applied.changes.length === 1 ? '1 plan' : `${applied.changes.length} plans`} changed.`)
}

/** Adds `plan apply`. */
export const addPlanApply = (plan: Command): void => {
  const command = plan
    .command('apply')
    .description('make the plans as a TOML file has them: shows what changes and asks first')
    .requiredOption('-f, --file <file>', 'the file, as "plan export" writes it; "-" for standard input')
    .addOption(tenantOption())
    .option('--replace', 'remove plans that the file does not have', false)
    .option('--dry-run', 'only show what would change', false)
    .option('--yes', 'do not ask', false)
  toGateway(command).action(async (options: ApplyOptions) => {
    const { file } = options
    const text = file === '-' ? await textOf(process.stdin) : await readFile(file, 'utf8')
    const plans = plansOfText(text, file === '-' ? 'standard input' : file)
    await withTenant(options, (remote) => apply(remote, options, plans))
  })
}

/** Adds `plan export`. */
export const addPlanExport = (plan: Command): void => {
  const command = plan
    .command('export')
    .description('print plans as TOML, as "plan apply" takes them')
    .argument('[names...]', 'only these', (text: string, before: string[] | undefined) => [
      ...(before ?? []),
      planNameOf(text),
    ])
    .addOption(tenantOption())
  toGateway(command).action(async (names: string[], options: Common) => {
    const all = await withTenant(options, allPlans)
    const known = all.map(({ name }) => name)
    const missing = names.find((name) => !known.includes(name))
    if (missing !== undefined) throw noPlan(missing, known)
    const plans = names.length === 0 ? all : all.filter(({ name }) => names.includes(name))
    printJson({ plans })
    if (!options.json) textOfPlans(plans).trimEnd().split('\n').forEach(print)
  })
}

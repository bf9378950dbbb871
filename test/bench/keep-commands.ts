// The gateway's commands that keep a datastore, each a program of its own beside the running gateway, and the reports they print.
import * as v from 'valibot'
import { checkReport, collectionReport, usageReport, verifyReport } from '../../protocol/maintenance.ts'
import { METHODS } from '../../protocol/methods.ts'
import { gatewayProgram } from '../demo/commands.ts'
import type { Command } from './measure.ts'

/** A command whose output is a list with one report for each tenant. */
export interface Keeping<S extends v.GenericSchema> {
  readonly command: Command
  /** The report in what it printed; throws unless there is exactly one. */
  read(output: string): v.InferOutput<S>
}

const listed = v.object({
  points: v.array(v.object({ id: v.string(), machine: v.string(), timeMs: v.number(), held: v.boolean() })),
})

/** The commands for one tenant of one data folder. */
export class KeepCommands {
  readonly #data: string
  readonly #tenant: string

  constructor(data: string, tenant: string) {
    this.#data = data
    this.#tenant = tenant
  }

  /** `rules` such as `--keep-last 4`. */
  prune(...rules: string[]): Keeping<(typeof METHODS)['points.prune']['result']> {
    return this.#keeping(METHODS['points.prune'].result, 'prune', ...rules)
  }

  collect(...options: string[]): Keeping<typeof collectionReport> {
    return this.#keeping(collectionReport, 'gc', ...options)
  }

  verify(): Keeping<typeof verifyReport> {
    return this.#keeping(verifyReport, 'verify')
  }

  check(): Keeping<typeof checkReport> {
    return this.#keeping(checkReport, 'repair', '--check')
  }

  usage(): Keeping<typeof usageReport> {
    return this.#keeping(usageReport, 'usage')
  }

  hold(point: string): Command {
    return this.#command('hold', point)
  }

  /** All restore points of the tenant. */
  points(): { readonly command: Command; read(output: string): v.InferOutput<typeof listed>['points'] } {
    return { command: this.#command('points'), read: (output) => v.parse(listed, JSON.parse(output)).points }
  }

  #keeping<S extends v.GenericSchema>(schema: S, ...args: string[]): Keeping<S> {
    const read = (output: string): v.InferOutput<S> =>
      v.parse(v.object({ tenants: v.tuple([schema]) }), JSON.parse(output)).tenants[0]
    return { command: this.#command(...args), read }
  }

  #command(...args: string[]): Command {
    const where = ['--data', this.#data, '--tenant', this.#tenant, '--json']
    return { name: 'command', program: process.execPath, args: [gatewayProgram, ...args, ...where] }
  }
}

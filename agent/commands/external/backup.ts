// The command "external backup": gives the agent of this host a lease that the caller holds, and backs the machine up under it.
import { access, constants } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import { fileError } from '../../../protocol/host/file-error.ts'
import { offerSchema, type Offer, type OfferedDisk } from '../../drivers/external/offer.ts'
import { giveLease } from '../../external/give-lease.ts'
import { backup } from '../backup.ts'

/** How far an instant may lie in the future, in milliseconds: clocks of one host do not differ, but are set. */
const FUTURE_MAX_MS = 60_000

export interface ExternalBackup {
  readonly agentConfig: string
  readonly machine: string
  /** In milliseconds since 1970. */
  readonly instant: number
  readonly disk: readonly OfferedDisk[]
  readonly config?: readonly string[]
  readonly uuid?: string
  readonly bandwidth?: number
  readonly whileStdin: boolean
  readonly wait: boolean
  readonly timeout?: number
  readonly json: boolean
}

/** PARAMS_INVALID. */
const offerOf = (options: ExternalBackup, nowMs: number): Offer => {
  const { machine, instant, disk, config = [], uuid = null, bandwidth = null } = options
  if (instant > nowMs + FUTURE_MAX_MS) throw new VarveError('PARAMS_INVALID', '--instant lies in the future')
  const offer = {
    machine,
    uuid,
    timeMs: Math.min(instant, nowMs),
    disks: disk,
    files: config.map((file) => ({ name: path.basename(file), path: file })),
    bandwidth,
  }
  const checked = v.safeParse(offerSchema, offer)
  if (checked.success) return checked.output
  const [issue] = checked.issues
  const key = v.getDotPath(issue) ?? 'the lease'
  throw new VarveError('PARAMS_INVALID', `${key}: ${issue.message}`)
}

/** A point that lacks what it should have would be found out at its restore. */
const checkReadable = async (file: string): Promise<void> => {
  try {
    await access(file, constants.R_OK)
  } catch (error) {
    throw fileError(`--config ${file}`, error)
  }
}

/** A signal that aborts once nobody holds the other end of standard input. */
const stdinEnd = (): Disposable & { readonly signal: AbortSignal } => {
  const controller = new AbortController()
  const onEnd = (): void => controller.abort(new VarveError('CANCELLED', 'standard input has ended'))
  process.stdin.once('close', onEnd).once('end', onEnd).on('error', onEnd).resume()
  return { signal: controller.signal, [Symbol.dispose]: () => void process.stdin.destroy() }
}

/** Resolves only once the restore point is durable. */
export const externalBackup = async (options: ExternalBackup): Promise<void> => {
  const { agentConfig, machine, timeout, whileStdin, wait, json } = options
  const offer = offerOf(options, Date.now())
  for (const { path: file } of offer.files) await checkReadable(file)
  using over = whileStdin ? stdinEnd() : null
  const command = {
    config: agentConfig,
    full: false,
    compare: false,
    wait,
    json,
    ...(timeout === undefined ? {} : { timeout }),
    ...(over === null ? {} : { until: over.signal }),
  }
  await backup(machine, command, ({ config, signal }) => giveLease(config, offer, signal))
}

// The commands for leases that somebody else holds, and their options; what they need is loaded with them.
import path from 'node:path'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { instantMs } from '../../../protocol/host/instant.ts'
import { CONFIG_DEFAULT } from '../../config.ts'
import type { BitmapState, OfferedDisk } from '../../drivers/external/offer.ts'
import { duration, size } from '../options.ts'
import type { ExternalBackup } from './backup.ts'
import type { ExternalQuery, SizedDisk } from './query.ts'

interface Shared {
  readonly jsonOption: () => Option
  readonly lookTimeoutOption: () => Option
  readonly workTimeoutOption: (what: string) => Option
}

const DISK_FORM = 'NAME=SOCKET:EXPORT, or NAME=SOCKET:EXPORT:BITMAP:STATE with the state none, new or reuse'

const STATES: readonly BitmapState[] = ['none', 'new', 'reuse']

const isState = (text: string | undefined): text is BitmapState => STATES.some((state) => state === text)

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new InvalidArgumentError(`"${text}" has a % that is not followed by two digits: %25 stands for one.`)
  }
}

/** A disk of a text such as `scsi0=/run/vm.sock:scsi0:bitmap0:reuse`; only the bitmap's name may have colons as they are. */
export const diskOf = (text: string): OfferedDisk => {
  const [, name = '', rest = ''] = /^([^=]+)=(.+)$/su.exec(text) ?? []
  const [socket = '', exportName, ...more] = rest.split(':')
  const state = more.length === 0 ? 'none' : more.pop()
  const bitmap = more.join(':')
  if (name === '' || exportName === undefined || !isState(state) || (state === 'none') !== (bitmap === ''))
    throw new InvalidArgumentError(`"${text}" is not ${DISK_FORM}.`)
  return {
    name: decoded(name),
    socketPath: path.resolve(decoded(socket)),
    exportName: decoded(exportName),
    bitmap: bitmap === '' ? null : decoded(bitmap),
    state,
  }
}

/** A disk of a text such as `scsi0=34359738368`. */
const sizedDisk = (text: string): SizedDisk => {
  const [, name = '', bytes = ''] = /^([^=]+)=(\d{1,16})$/su.exec(text) ?? []
  if (name === '') throw new InvalidArgumentError(`"${text}" is not NAME=BYTES.`)
  return { name: decoded(name), size: Number(bytes) }
}

const instant = (text: string): number => {
  const ms = instantMs(text)
  if (ms === null) throw new InvalidArgumentError(`"${text}" is not an instant such as 2026-11-28T14:00:00Z.`)
  return ms
}

const collected =
  <V>(parse: (text: string) => V) =>
  (text: string, before: readonly V[] = []): V[] => [...before, parse(text)]

const agentConfig = (): Option =>
  new Option('--agent-config <file>', "the agent's configuration").env('VARVE_AGENT_CONFIG').default(CONFIG_DEFAULT)

const machineOption = (): Option => new Option('--machine <name>', 'its name at the gateway').makeOptionMandatory()

export const addExternal = (program: Command, { jsonOption, lookTimeoutOption, workTimeoutOption }: Shared): void => {
  const external = program
    .command('external')
    .description('back up machines whose disks another program offers to be read')
  external
    .command('backup')
    .description(
      'back up a machine under a lease that the caller holds, until this ends; exits with 0 only once the restore point is durable',
    )
    .addOption(machineOption())
    .addOption(
      new Option('--instant <time>', 'the instant of all disks, such as 2026-11-28T14:00:00Z')
        .argParser(instant)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--disk <disk>', `${DISK_FORM}; %3A stands for a colon`)
        .argParser(collected(diskOf))
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--config <file>', 'a file that goes with the restore point').argParser(
        collected((text) => path.resolve(text)),
      ),
    )
    .option('--uuid <uuid>', 'the uuid of the machine, by which it is the same on another host')
    .addOption(new Option('--bandwidth <size>', 'bytes a second that are read at most, such as 50M').argParser(size))
    .option(
      '--while-stdin',
      'end as if interrupted once standard input ends, so that it does not outlive its caller',
      false,
    )
    .option('--wait', 'wait while another backup of the machine runs or the agent is not connected', false)
    .addOption(workTimeoutOption('gateway and agent'))
    .addOption(agentConfig())
    .addOption(jsonOption())
    .action(async (options: ExternalBackup) => (await import('./backup.ts')).externalBackup(options))
  external
    .command('query')
    .description('say for each disk whether a backup can go on with its bitmap ("use") or needs a new one ("new")')
    .addOption(machineOption())
    .addOption(
      new Option('--disk <disk>', 'NAME=BYTES: a disk and its size')
        .argParser(collected(sizedDisk))
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--full-after <duration>', 'a new one also where the disk was read in full longer ago').argParser(
        duration,
      ),
    )
    .addOption(lookTimeoutOption())
    .addOption(agentConfig())
    .addOption(jsonOption())
    .action(async (options: ExternalQuery) => (await import('./query.ts')).externalQuery(options))
}

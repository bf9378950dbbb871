// A real gateway, an agent that the test plays, and the varve-agent program as a child process.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../../protocol/host/clock.ts'
import { Pace } from '../../../agent/pace.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { uploadImage } from '../../../agent/image/upload-disk.ts'
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import type { Params } from '../../../protocol/methods.ts'
import type { Handlers, Peer } from '../../../protocol/peer.ts'
import { startGateway, type TestGateway } from '../../support/gateway.ts'
import { haveRunners, runCommand } from '../../support/runner.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { startQemuNbd } from '../nbd/qemu-nbd.ts'

const PROGRAM = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A started varve-agent. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
}

export const startCommand = (...args: readonly string[]): Running => {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (said.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (said.stderr += text))
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, ...said }))
  return { child, ended }
}

/** Runs varve-agent to its end; `run` in a process of its own. */
export const command = (...args: readonly string[]): Promise<Ended> =>
  haveRunners() && args[0] !== 'run' ? runCommand('agent', args) : startCommand(...args).ended

/** The agent's side of a backup of one raw disk, as the order says, until its commit. */
export const commitBackup = async (
  peer: Peer,
  temp: TempFolder,
  order: Params<'agent.backup'>,
  disk: Buffer,
  { leftOut = [], comparedChunks = 0 }: { leftOut?: LeftOutDisk[]; comparedChunks?: number } = {},
): Promise<void> => {
  const file = temp.join(`${randomUUID()}.raw`)
  await writeFile(file, disk)
  await using nbd = await startQemuNbd(temp, '--read-only', '--format=raw', file)
  const { job, idKey, chunkBytes } = order
  const reason = order.full ? 'requested' : order.base === null ? 'first' : 'bitmap-missing'
  const described = { name: 'vda', size: disk.length, kind: 'full', reason, base: null, evidence: '' } as const
  const read = { ...described, comparedChunks }
  const begun = {
    job,
    timeMs: Date.now(),
    consistency: 'crash',
    note: null,
    configuration: '{}',
  } as const
  await peer.call('backup.begin', { ...begun, leftOut, disks: [read] })
  let bytesRead = 0
  await uploadImage({
    peer,
    job,
    disk: { ...read, socketPath: nbd.socketPath, exportName: 'disk', dirtyContext: null, reread: [] },
    chunkBytes,
    idKey,
    throttle: new Throttle(null, systemClock),
    signal: new AbortController().signal,
    pace: new Pace(systemClock),
    onRead: (bytes) => void (bytesRead += bytes),
  })
  await peer.call('backup.commit', { job, bytesRead })
}

/** The same until the machine is given back. */
export const backUp = async (...args: Parameters<typeof commitBackup>): Promise<void> => {
  await commitBackup(...args)
  const [peer, , { job }] = args
  await peer.call('backup.released', { job })
}

export interface Stand extends AsyncDisposable {
  readonly temp: TempFolder
  readonly gateway: TestGateway
  /** The `--config` option and its file. */
  readonly config: readonly [string, string]
  /** Connects the agent, which serves the machine `db1`. */
  serve(handlers: Handlers): Promise<Peer>
}

/** A gateway and an enrolled agent that is not connected yet. */
export const startStand = async (): Promise<Stand> => {
  await using resources = new AsyncDisposableStack()
  const temp = resources.use(await tempFolder())
  const gateway = resources.use(await startGateway({ folder: temp.join('data') }))
  const identity = await gateway.enrolAgent(temp.join('state'))
  const file = temp.join('agent.toml')
  const machine = `[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`
  await writeFile(file, `gateway = "${gateway.url}"\nstate = "${temp.join('state')}"\nlog_level = "silent"\n${machine}`)
  const all = resources.move()
  return {
    temp,
    gateway,
    config: ['--config', file],
    serve: (handlers) => gateway.connectAgent(identity, ['db1'], handlers),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

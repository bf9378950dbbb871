// The drill command: has a restore point prove that it boots, and keeps the verdict with it.
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { DRILL_CHARS_MAX, DRILL_REMARKS_MAX, type DrillOutcome } from '../../../protocol/drills.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { durationText } from '../../../protocol/host/duration.ts'
import type { Moment } from '../../../protocol/host/moment.ts'
import { print, printJson, remark } from '../../../protocol/host/output.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import type { Point } from '../../../protocol/schemas.ts'
import { parseCheck, type DrillCheck } from '../../drill/check.ts'
import { openDrillFolder, SCRATCH_DEFAULT, type DrillFolder } from '../../drill/drill-folder.ts'
import { drillWords } from '../../drill/drill-words.ts'
import { limitsOf, lookAtHost } from '../../drill/limits.ts'
import { machineWords } from '../../drill/machine-words.ts'
import { DrillRun, NBD_SOCKET, type DrillDisk, type DrillPlan, type DrillResult } from '../../drill/run-drill.ts'
import { openDisks } from '../../export/open-disks.ts'
import { ExportServer } from '../../export/server.ts'
import { attachmentBytes } from '../attachment-bytes.ts'
import { withAnyGateway, type CommandContext } from '../context.ts'
import { checkMayRead } from '../may-read.ts'
import type { WayOptions } from '../way.ts'
import { checkPoint, findPoint } from '../which-point.ts'

/** How long the evidence may take where nothing else is said, in milliseconds: with KVM, and emulated. */
const BOOT_LIMIT_MS = { kvm: 3 * 60_000, tcg: 15 * 60_000 } as const

/** How long a read waits for a gateway that is away, in milliseconds: the guest's own clock runs meanwhile. */
const RECONNECT_MS = 60_000

/** Memory for chunks, in bytes. */
const CACHE_BYTES = 64 * 1024 ** 2

/** Attachments that a machine needs to start, and their files. */
const FILES = new Map([
  ['pflash0', 'pflash0.fd'],
  ['pflash1', 'pflash1.fd'],
  ['nvram', 'nvram.fd'],
])

const SHOW_MS = 500

export interface DrillCommand extends WayOptions {
  /** The newest point then, of the machine that the argument names. */
  readonly at?: Moment
  readonly check?: string
  readonly bootLimit?: number
  readonly memoryMax?: number
  readonly cpusMax?: number
  readonly writeMax: number
  readonly scratch?: string
  readonly timeout?: number
  readonly json: boolean
}

interface Told {
  readonly point: Point
  readonly configuration: string
}

interface Planned extends DrillPlan {
  readonly checkText: string
  readonly accelerator: 'kvm' | 'tcg'
  readonly memoryBytes: number
  readonly cpus: number
  readonly remarks: readonly string[]
}

const sentence = (text: string): string =>
  text
    .replaceAll(/\p{Cc}/gu, ' ')
    .slice(0, DRILL_CHARS_MAX)
    .toWellFormed()

/** The files that the machine is started with besides its disks, in the drill's folder. */
const placeFiles = async (context: CommandContext, point: Point, folder: string): Promise<Map<string, string>> => {
  const placed = new Map<string, string>()
  for (const [name, file] of FILES) {
    const bytes = await attachmentBytes(context, point, name)
    if (bytes === null) continue
    await writeFile(path.join(folder, file), bytes, { mode: 0o600 })
    placed.set(name, file)
  }
  return placed
}

const checkOf = (given: DrillCheck | null, hasGuestAgent: boolean): DrillCheck => {
  if (given?.kind !== 'guest-agent' && given !== null) return given
  if (hasGuestAgent) return { kind: 'guest-agent' }
  throw new VarveError(
    'PARAMS_INVALID',
    'the machine has no channel for a guest agent: say what proves that it runs, such as --check "serial:login:"',
  )
}

/** What is started, and within which limits. LIMIT_REACHED, DATA_DAMAGED, PARAMS_INVALID. */
const plan = async (
  context: CommandContext,
  { point, configuration }: Told,
  folder: string,
  options: DrillCommand,
): Promise<Planned> => {
  const text = async (name: string): Promise<string | null> =>
    (await attachmentBytes(context, point, name))?.toString('utf8') ?? null
  const disks: DrillDisk[] = point.disks.map(({ name, size }, index) => ({ name, size, file: `disk${index}.qcow2` }))
  const machine = machineWords({
    machine: point.machine,
    domain: await text('domain.xml'),
    command: await text('command-line'),
    configuration,
    disks: new Map(disks.map(({ name, file }) => [name, { file, format: 'qcow2' }])),
    files: await placeFiles(context, point, folder),
    isHere: existsSync,
  })
  const limits = limitsOf(machine.size, options, await lookAtHost())
  const { words, hasGuestAgent } = drillWords(machine.words, limits)
  const given = options.check === undefined ? null : parseCheck(options.check)
  const { accelerator, memoryMib, cpus } = limits
  return {
    program: machine.program,
    words,
    disks,
    check: checkOf(given, hasGuestAgent),
    checkText: options.check ?? 'guest-agent',
    bootLimitMs: options.bootLimit ?? BOOT_LIMIT_MS[accelerator],
    writeMax: options.writeMax,
    accelerator,
    memoryBytes: memoryMib * 1024 ** 2,
    cpus,
    remarks: [...machine.remarks, ...limits.remarks],
  }
}

/** Of a machine that never began. */
const NOTHING = { passed: false, firmwareMs: null, evidenceMs: null, bytesWritten: 0, log: '', picture: null } as const

/** Serves the disks and starts the machine on them. */
const serveAndRun = async (
  { link, signal, progress }: CommandContext,
  { point }: Told,
  folder: DrillFolder,
  planned: Planned,
): Promise<DrillResult & { readonly bytesReceived: number }> => {
  let bytesReceived = 0
  const disks = await openDisks({
    link,
    signal,
    point,
    disks: point.disks,
    since: null,
    reconnectMs: RECONNECT_MS,
    cacheBytes: CACHE_BYTES,
    onReceived: (bytes) => void (bytesReceived += bytes),
    onCacheFailure: () => {},
  }).catch((thrown: unknown) => asVarveError(thrown))
  if (disks instanceof VarveError) {
    // without its disks' trees the machine has none
    if (disks.code !== 'DATA_DAMAGED') throw disks
    return { ...NOTHING, reason: disks.message, bytesReceived }
  }
  await using opened = disks
  const run = new DrillRun(folder.path, planned)
  await using _server = await ExportServer.open({
    listen: { socket: path.join(folder.path, NBD_SOCKET) },
    // without maps: QEMU takes one that cannot be told for a disk that ends there
    exports: opened.disks.map((disk) => ({ ...disk, contexts: [] })),
    onFailure: (failed) => run.failedRead(failed),
    onServed: () => {},
    onClients: () => {},
  })
  const startedMs = performance.now()
  const limit = durationText(planned.bootLimitMs)
  const showing = setInterval(
    () =>
      progress.show(
        () =>
          `drill of ${point.machine}: ${Math.round((performance.now() - startedMs) / 1000)} s of ${limit}, ${sizeText(bytesReceived)} received`,
      ),
    SHOW_MS,
  )
  try {
    return { ...(await run.run(signal)), bytesReceived }
  } finally {
    clearInterval(showing)
    progress.clear()
  }
}

interface Ended {
  readonly outcome: DrillOutcome
  readonly log: string
  readonly picture: Uint8Array | null
}

const make = async (context: CommandContext, told: Told, options: DrillCommand): Promise<Ended> => {
  const startedMs = Date.now()
  const beginMs = performance.now()
  const { planned, result, toRunMs } = await (async () => {
    await using folder = await openDrillFolder(options.scratch ?? SCRATCH_DEFAULT)
    const made = await plan(context, told, folder.path, options)
    made.remarks.forEach(remark)
    const before = Math.round(performance.now() - beginMs)
    return { planned: made, result: await serveAndRun(context, told, folder, made), toRunMs: before }
  })()
  const since = (ms: number | null): number | null => (ms === null ? null : ms + toRunMs)
  const outcome: DrillOutcome = {
    verdict: result.passed ? 'passed' : 'failed',
    reason: sentence(result.reason),
    check: planned.checkText,
    host: hostname().slice(0, 255),
    startedMs,
    firmwareMs: since(result.firmwareMs),
    evidenceMs: since(result.evidenceMs),
    durationMs: Math.round(performance.now() - beginMs),
    bootLimitMs: planned.bootLimitMs,
    accelerator: planned.accelerator,
    memoryBytes: planned.memoryBytes,
    cpus: planned.cpus,
    bytesReceived: result.bytesReceived,
    bytesWritten: result.bytesWritten,
    remarks: planned.remarks.slice(0, DRILL_REMARKS_MAX).map(sentence),
  }
  return { outcome, log: result.log, picture: result.picture }
}

/** Keeps it with the point; a gateway that cannot is no reason to forget what came of it. */
const keep = async ({ link, signal }: CommandContext, point: string, { outcome, log, picture }: Ended) => {
  const drill = randomUUID()
  try {
    await link.repeat((peer) => peer.call('drills.add', { drill, point, outcome, log, picture }, { signal }), signal)
    return { drill, problem: null }
  } catch (thrown) {
    signal.throwIfAborted()
    return { drill: null, problem: asVarveError(thrown) }
  }
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

const printPassed = (point: Point, { reason, firmwareMs, evidenceMs, ...outcome }: DrillOutcome): void => {
  const { accelerator, cpus, memoryBytes, bytesReceived, bytesWritten } = outcome
  const at = new Date(point.timeMs).toISOString()
  const took = seconds((evidenceMs ?? 0) - (firmwareMs ?? 0))
  print(`${point.machine} at ${at} boots: ${reason}, ${took} after its firmware began.`)
  print(
    `  ${accelerator}, ${sizeText(memoryBytes)} of memory, ${cpus} ${cpus === 1 ? 'processor' : 'processors'}; ${sizeText(bytesReceived)} received, ${sizeText(bytesWritten)} written, nothing of it is left.`,
  )
}

/** DRILL_FAILED where the point did not prove that it boots. */
export const drill = async (named: string, options: DrillCommand): Promise<void> => {
  checkPoint(named, options.at)
  // a mistake is told before anything is made
  if (options.check !== undefined) parseCheck(options.check)
  await withAnyGateway(
    options,
    async (context) => {
      checkMayRead(context)
      const told = await findPoint(context, named, options.at)
      const { point } = told
      if (point.disks.length === 0) throw new VarveError('NOT_FOUND', `restore point ${point.id} has no disks`)
      const ended = await make(context, told, options)
      const { drill: id, problem } = await keep(context, point.id, ended)
      const { outcome, log } = ended
      printJson({ drill: id, point: point.id, machine: point.machine, timeMs: point.timeMs, ...outcome, log })
      if (problem !== null) remark(`the verdict is not kept at the gateway: ${problem.message} (${problem.code})`)
      if (outcome.verdict === 'failed')
        throw new VarveError('DRILL_FAILED', `${point.machine} did not prove that it boots: ${outcome.reason}`, {
          details: { point: point.id, drill: id },
        })
      if (!options.json) printPassed(point, outcome)
      if (problem !== null) throw problem
    },
    { ...options, works: true, progress: !options.json },
  )
}

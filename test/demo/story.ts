// What the demonstration does, step by step.
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { buildGuest, type GuestImage } from '../rig/build-guest.ts'
import type { Guest } from '../rig/guest.ts'
import { assertComplete, promisedAt } from '../rig/reports.ts'
import { run } from '../rig/run.ts'
import type { BackupResult, PointRow } from './commands.ts'
import { inspectImage } from './inspect.ts'
import { backupText, secondsText, type Figures, type PointFigures, type Teller } from './report.ts'
import type { Stage } from './stage.ts'

const BACKUPS = 3
/** Reports that the guest makes before each backup; some files are truncated and removed on the way. */
const REPORTS_BETWEEN = 60

/** A finished backup with the times, by this machine's clock, between which its instant was. */
interface Taken {
  readonly result: BackupResult
  readonly startedMs: number
  readonly endedMs: number
}

const seconds = async <T>(work: Promise<T>): Promise<[T, number]> => {
  const startedMs = performance.now()
  const value = await work
  return [value, Math.round(performance.now() - startedMs) / 1000]
}

const expectThat = (holds: boolean, sentence: string): void => {
  if (!holds) throw new Error(sentence)
}

const startAll = async (stage: Stage, teller: Teller, figures: Figures): Promise<[Guest, GuestImage]> => {
  const [image, buildSeconds] = await seconds(buildGuest())
  figures.guest.cached = image.cached
  teller.say(image.cached ? 'guest image taken from the cache' : `guest image built in ${secondsText(buildSeconds)}`)
  const disks = stage.host.disks.map(({ id, format, size }) => {
    return { id, format, size, file: path.join(stage.folder, `${id}.${format}`) }
  })
  for (const { format, file, size } of disks) await run('qemu-img', ['create', '-q', '-f', format, file, size])
  const booting = stage.startHost().then(() => {
    return stage.bootGuest({ image, name: stage.machine, disks, backedUp: true })
  })
  const [guest] = await Promise.all([booting, stage.startGateway()])
  teller.say(`gateway listens on ${stage.gatewayUrl}`)
  await stage.commands.addTenant('demo')
  await stage.commands.enrol(stage.gatewayUrl, await stage.commands.enrolmentToken('demo'))
  const ready = await guest.said(/^READY /)
  figures.guest.bootSeconds = Number(ready.split(' ')[1])
  teller.say(
    `guest${stage.host.where} booted in ${secondsText(figures.guest.bootSeconds)} and writes files on two disks`,
  )
  await stage.startAgent()
  teller.say('agent enrolled for tenant "demo" and connected')
  return [guest, image]
}

const takeBackups = async (stage: Stage, teller: Teller, guest: Guest): Promise<Taken[]> => {
  const taken: Taken[] = []
  while (taken.length < BACKUPS) {
    await guest.reported(guest.reports.length + REPORTS_BETWEEN)
    const startedMs = Date.now()
    const result = await stage.commands.backup(stage.machine)
    taken.push({ result, startedMs, endedMs: Date.now() })
    teller.say(`backup ${taken.length}: ${backupText(result)}`)
    const expected = taken.length === 1 ? 'full' : 'incremental'
    expectThat(result.kind === expected, `backup ${taken.length} is ${result.kind} (${result.reason}), not ${expected}`)
    expectThat(result.consistency === 'frozen', `backup ${taken.length} is ${result.consistency}, not frozen`)
  }
  return taken
}

/** The point's row, whose instant must lie within the backup. */
const rowOf = (rows: readonly PointRow[], { result, startedMs, endedMs }: Taken): PointRow & { instantMs: number } => {
  const row = rows.find(({ id }) => id === result.point)
  if (row === undefined) throw new Error(`restore point ${result.point} is not listed`)
  const instantMs = new Date(row.time).getTime()
  expectThat(instantMs >= startedMs && instantMs <= endedMs, `the instant of ${row.id} is outside of its backup`)
  return { ...row, instantMs }
}

/** Restores both disks of a point and checks them against the guest's reports; the raw images stay where `keep` says so. */
const provePoint = async (
  stage: Stage,
  guest: Guest,
  row: PointRow & { instantMs: number },
  taken: Taken,
): Promise<PointFigures> => {
  const { result, endedMs } = taken
  const figures: PointFigures = {
    id: result.point,
    time: new Date(row.instantMs).toISOString(),
    kind: result.kind,
    reason: result.reason,
    consistency: result.consistency,
    bytesRead: result.bytesRead,
    bytesSent: result.bytesSent,
    bytesStored: result.bytesStored,
    seconds: result.seconds,
    disks: result.disks,
    restoreSeconds: 0,
    filesChecked: 0,
    filesGone: 0,
  }
  for (const { id, letter } of stage.host.disks) {
    const target = path.join(stage.folder, `${result.point}.${id}.raw`)
    const [, restoreSeconds] = await seconds(stage.commands.restore(result.point, id, target))
    figures.restoreSeconds = Math.round((figures.restoreSeconds + restoreSeconds) * 1000) / 1000
    const promised = promisedAt(guest.reports, letter, row.instantMs, endedMs)
    expectThat(promised.present.length > 0, `the guest had reported nothing on ${id}`)
    await inspectImage(target, path.join(stage.folder, `${result.point}.${id}.files`), promised)
    figures.filesChecked += promised.present.length
    figures.filesGone += promised.absent.length
    await rm(target)
  }
  return figures
}

const provePoints = async (stage: Stage, teller: Teller, guest: Guest, taken: readonly Taken[], figures: Figures) => {
  const rows = await stage.commands.points(stage.machine)
  const listed = rows.map(({ id }) => id)
  const expected = taken.map(({ result }) => result.point).toReversed()
  expectThat(
    listed.join() === expected.join(),
    `listed are ${listed.join()}, newest first should be ${expected.join()}`,
  )
  for (const [index, backup] of taken.entries()) {
    const point = await provePoint(stage, guest, rowOf(rows, backup), backup)
    figures.points.push(point)
    const files = `${point.filesChecked} files there and right, ${point.filesGone} removed ones gone`
    teller.say(`point ${index + 1} restored in ${secondsText(point.restoreSeconds)}: file systems clean, ${files}`)
  }
  assertComplete(guest.reports)
  figures.guest.reports = guest.reports.length
}

/** What describes the whole machine came with the last point. */
const proveDescription = async (stage: Stage, teller: Teller, point: string): Promise<void> => {
  const description = stage.host.description(stage.machine)
  if (description === null) return
  const { name, contains } = description
  const target = path.join(stage.folder, `last.${name}`)
  await stage.commands.restoreAttachment(point, name, target)
  const text = await readFile(target, 'utf8')
  for (const part of contains) expectThat(text.includes(part), `${name} of the last point says nothing of ${part}`)
  teller.say(`${name} of the last point restored: it describes this machine`)
}

/** Boots the last point, one disk of it restored in another format, and lets the guest read all of its files. */
const bootLast = async (stage: Stage, teller: Teller, image: GuestImage, point: string, figures: Figures) => {
  const disks = stage.host.disks.map(({ id, format }) => ({
    id,
    format: format === 'raw' ? ('qcow2' as const) : ('raw' as const),
    file: path.join(stage.folder, `last.${id}`),
  }))
  for (const { id, file, format } of disks) await stage.commands.restore(point, id, file, format)
  const guest = await stage.bootGuest({ image, name: 'restored-vm', disks, append: 'verify', backedUp: false })
  const line = await guest.said(/^VERIFY ok=\d+ bad=\d+$/)
  await guest.ended()
  const [ok = 0, bad = 0] = [...line.matchAll(/\d+/g)].map(Number)
  figures.selfCheck = { ok, bad }
  expectThat(ok > 0 && bad === 0, `the restored guest says: ${line}`)
  teller.say(`last point booted: the guest read ${ok} files of its own, all right`)
}

/** The whole demonstration; fills in the figures as it goes and throws at the first thing that is not right. */
export const tellStory = async (stage: Stage, teller: Teller, figures: Figures): Promise<void> => {
  const [guest, image] = await startAll(stage, teller, figures)
  const taken = await takeBackups(stage, teller, guest)
  await provePoints(stage, teller, guest, taken, figures)
  const last = taken.at(-1)
  if (last === undefined) return
  await proveDescription(stage, teller, last.result.point)
  await bootLast(stage, teller, image, last.result.point, figures)
}

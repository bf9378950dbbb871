// The restore command: one disk of one restore point to a file or device.
import { VarveError } from '../../protocol/errors.ts'
import type { TargetFormat } from '../restore/format.ts'
import { openTarget } from '../restore/open-target.ts'
import { restoreDisk } from '../restore/restore.ts'
import { RestoreNotes } from '../restore/restore-notes.ts'
import { withGateway } from './context.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { Meter } from '../../protocol/host/meter.ts'

export interface RestoreCommand {
  readonly config: string
  readonly disk: string
  readonly to: string
  /** Absent: decided by the target's name. */
  readonly format?: TargetFormat
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly timeout?: number
  readonly json: boolean
}

export const restore = (prefix: string, options: RestoreCommand): Promise<void> =>
  withGateway(
    options.config,
    async ({ config, link, signal, progress }) => {
      const notes = RestoreNotes.in(config.state)
      ;(await notes.settle()).forEach(remark)
      const { point } = await link.call('points.get', { point: prefix }, signal)
      const disk = point.disks.find(({ name }) => name === options.disk)
      if (disk === undefined) {
        const names = point.disks.map(({ name }) => name).join(', ')
        throw new VarveError('NOT_FOUND', `restore point ${prefix} has no disk "${options.disk}"; it has: ${names}`)
      }
      const meter = new Meter()
      const startedMs = performance.now()
      const opened = await openTarget({
        path: options.to,
        size: disk.size,
        format: options.format ?? null,
        force: options.force,
        machines: config.machines,
        notes,
      })
      await using target = opened.target
      const { format } = opened
      if (opened.remark !== null) remark(opened.remark)
      let bytesReceived = 0
      const { lost, lostCount, lostBytes, remarks } = await restoreDisk({
        repeat: (work) => link.repeat(work, signal),
        point: point.id,
        disk: disk.name,
        size: disk.size,
        root: disk.root,
        target,
        skipDamaged: options.skipDamaged,
        signal,
        onProgress: (doneBytes, received) => {
          bytesReceived = received
          meter.add(performance.now(), doneBytes)
          progress.show(() => `${disk.name}: ${meter.text(doneBytes, disk.size)}`)
        },
      })
      progress.clear()
      remarks.forEach(remark)
      const durationMs = Math.round(performance.now() - startedMs)
      const done = {
        point: point.id,
        machine: point.machine,
        disk: disk.name,
        to: options.to,
        format,
        size: disk.size,
        bytesReceived,
        durationMs,
        lostBytes,
        lostCount,
        lost,
      }
      if (options.json) printJson(done)
      if (lostBytes > 0) {
        if (!options.json)
          for (const { offset, length } of lost) print(`  lost: ${length} bytes at ${offset}, zeroed in ${options.to}`)
        const ranges = `${lostCount} ${lostCount === 1 ? 'range' : 'ranges'}`
        throw new VarveError(
          'DATA_DAMAGED',
          `${options.to} is written, but ${lostBytes} bytes in ${ranges} of disk ${disk.name} are lost and read as zeroes; every other chunk was checked, the root cannot match`,
        )
      }
      if (options.json) return
      print(
        `Disk ${disk.name} of ${point.machine} at ${new Date(point.timeMs).toISOString()} is in ${options.to} (${format}): ${sizeText(disk.size)} (${sizeText(bytesReceived)} received) in ${(durationMs / 1000).toFixed(1)} s, every chunk and the root checked.`,
      )
    },
    { ...options, works: true, progress: !options.json },
  )

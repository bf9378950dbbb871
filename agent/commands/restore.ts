// The restore command: one disk of one restore point to a file or device.
import { VarveError } from '../../protocol/errors.ts'
import { openTarget, type TargetFormat } from '../restore/open-target.ts'
import { restoreDisk } from '../restore/restore.ts'
import { withGateway } from './context.ts'
import { print, printJson, Progress, size } from './output.ts'

export interface RestoreCommand {
  readonly config: string
  readonly disk: string
  readonly to: string
  readonly format: TargetFormat
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly json: boolean
}

export const restore = (prefix: string, options: RestoreCommand): Promise<void> =>
  withGateway(options.config, async ({ link, signal }) => {
    const { point } = await link.call('points.get', { point: prefix }, signal)
    const disk = point.disks.find(({ name }) => name === options.disk)
    if (disk === undefined) {
      const names = point.disks.map(({ name }) => name).join(', ')
      throw new VarveError('NOT_FOUND', `restore point ${prefix} has no disk "${options.disk}"; it has: ${names}`)
    }
    using progress = new Progress(!options.json)
    const startedMs = performance.now()
    await using target = await openTarget({
      path: options.to,
      size: disk.size,
      format: options.format,
      force: options.force,
    })
    let received = 0
    const { lost, lostCount, lostBytes } = await restoreDisk({
      repeat: (work) => link.repeat(work, signal),
      point: point.id,
      disk: disk.name,
      size: disk.size,
      root: disk.root,
      target,
      skipDamaged: options.skipDamaged,
      signal,
      onProgress: (doneBytes, receivedBytes) => {
        received = receivedBytes
        progress.show(`${Math.floor((doneBytes / disk.size) * 100)} %  ${size(doneBytes)} of ${size(disk.size)}`)
      },
    })
    progress[Symbol.dispose]()
    const durationMs = Math.round(performance.now() - startedMs)
    const done = {
      point: point.id,
      machine: point.machine,
      disk: disk.name,
      to: options.to,
      format: options.format,
      size: disk.size,
      bytesReceived: received,
      durationMs,
      lostBytes,
      lostCount,
      lost,
    }
    if (options.json) printJson(done)
    if (lostBytes > 0) {
      if (!options.json)
        for (const { offset, length } of lost) print(`  lost: ${length} bytes at ${offset}, zero in ${options.to}`)
      const ranges = `${lostCount} ${lostCount === 1 ? 'range' : 'ranges'}`
      throw new VarveError(
        'DATA_DAMAGED',
        `${options.to} is written, but ${lostBytes} bytes in ${ranges} of disk ${disk.name} are lost and zero in it; every other chunk was checked, the root over them cannot match`,
      )
    }
    if (options.json) return
    print(
      `Disk ${disk.name} of ${point.machine} at ${new Date(point.timeMs).toISOString()} is in ${options.to}: ${size(disk.size)} (${size(received)} received) in ${(durationMs / 1000).toFixed(1)} s, every chunk and the root checked.`,
    )
  })

// What must hold after a backup, whatever became of it: disks as the model says, nothing left on the host.
import { expect } from 'vitest'
import type { BlockObjects, ModelMachine, Snapshot } from './model-machine.ts'
import type { Checkpoint, Host, Residue } from './stand-host.ts'
import { eventually } from './temp.ts'

const NO_RESIDUE: Residue = { scratch: [], journal: [], sockets: [] }

const BLOCK_BYTES = 512

const firstDifference = (one: Buffer, other: Buffer): string => {
  for (let offset = 0; offset < one.length; offset += BLOCK_BYTES)
    if (one.compare(other, offset, offset + BLOCK_BYTES, offset, offset + BLOCK_BYTES) !== 0)
      return `differs at ${offset}`
  return 'differs at its end'
}

/** Compares disks byte for byte; the failure names the place, not the bytes. */
export const expectDisks = (restored: Snapshot, model: Snapshot, what = 'the disks'): void => {
  const findings = [...model].map(([disk, bytes]) => {
    const found = restored.get(disk)
    if (found === undefined) return `${disk}: missing`
    if (found.length !== bytes.length) return `${disk}: ${found.length} bytes instead of ${bytes.length}`
    return found.equals(bytes) ? `${disk}: equal` : `${disk}: ${firstDifference(found, bytes)}`
  })
  expect([...restored.keys()].toSorted(), what).toEqual([...model.keys()].toSorted())
  expect(findings, what).toEqual([...model.keys()].map((disk) => `${disk}: equal`))
}

/** The block layer that a machine has between backups: as at first, with one checkpoint on every disk that was backed up. */
export const withCheckpoint = (
  before: BlockObjects,
  checkpoint: Checkpoint | null,
  disks: readonly { readonly id: string }[],
): BlockObjects => ({
  ...before,
  bitmaps:
    checkpoint === null
      ? before.bitmaps
      : [
          ...before.bitmaps,
          ...disks.flatMap(({ id }, index) => checkpoint(index).map((name) => `${id}/${name}`)),
        ].toSorted(),
})

/** The same without any checkpoint of ours: what a machine shows that was never backed up. */
export const bare = (objects: BlockObjects): BlockObjects => ({
  ...objects,
  bitmaps: objects.bitmaps.filter((name) => !name.includes('/varve-')),
})

/** Waits until the machine is as it should be between backups and the host holds nothing of a lease. */
export const expectNothingLeft = async (
  host: Host,
  machine: Pick<ModelMachine, 'objects'>,
  expected: BlockObjects,
): Promise<void> => {
  const look = async (): Promise<unknown> => ({ ...(await machine.objects()), ...(await host.residue()) })
  const wanted = { ...expected, ...NO_RESIDUE }
  await eventually(async () => JSON.stringify(await look()) === JSON.stringify(wanted)).catch(() => undefined)
  expect(await look()).toEqual(wanted)
}

// Looks into a restored disk image without mounting it: is the file system clean, and are the promised files there.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Promised } from '../rig/reports.ts'
import { run } from '../rig/run.ts'

const sha256Of = (data: Buffer): string => createHash('sha256').update(data).digest('hex')

/** What is wrong with the promised files in a folder, as one sentence each. */
const complaintsOf = async (folder: string, promised: Promised): Promise<string[]> => {
  const complaints: string[] = []
  const there = new Set(await readdir(folder))
  for (const { name, sizeBytes, sha256 } of promised.present) {
    if (!there.has(name)) {
      complaints.push(`${name} is missing`)
      continue
    }
    const data = await readFile(path.join(folder, name))
    if (data.length !== sizeBytes) complaints.push(`${name} has ${data.length} bytes instead of ${sizeBytes}`)
    else if (sha256Of(data) !== sha256) complaints.push(`${name} has another content`)
  }
  for (const name of promised.absent) if (there.has(name)) complaints.push(`${name} was removed before, but is there`)
  return complaints
}

/** What is wrong between the files of a folder and the manifest that the guest kept beside them. */
const manifestComplaintsOf = async (folder: string): Promise<string[]> => {
  const complaints: string[] = []
  const manifest = await readFile(path.join(folder, 'SUMS'), 'utf8')
  for (const line of manifest.trimEnd().split('\n')) {
    const [sum, name = ''] = line.split(/\s+/)
    const data = await readFile(path.join(folder, name)).catch(() => undefined)
    if (data === undefined || sha256Of(data) !== sum) complaints.push(`${name} is not as the disk's own manifest says`)
  }
  return complaints
}

/**
 * Throws unless the raw ext4 image is clean, with nothing to replay, and holds exactly what was promised. `folder` must not
 * exist; the files are
 * copied to it and removed again.
 */
export const inspectImage = async (image: string, folder: string, promised: Promised): Promise<void> => {
  const checked = await run('e2fsck', ['-f', '-n', image])
  if (/journal recovery/.test(checked)) throw new Error(`${path.basename(image)}: the journal was not empty`)
  await mkdir(folder)
  try {
    await run('debugfs', ['-R', `rdump / ${folder}`, image])
    const complaints = [...(await complaintsOf(folder, promised)), ...(await manifestComplaintsOf(folder))]
    if (complaints.length > 0) throw new Error(`${path.basename(image)}: ${complaints.join('; ')}`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

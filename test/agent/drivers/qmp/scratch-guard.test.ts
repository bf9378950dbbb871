// The guard process: it leaves with the lease, with its folder, and when another takes over.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { startScratchGuard } from '../../../../agent/drivers/qmp/scratch-guard.ts'
import { exampleEntry, qmpMachine } from '../../../support/journal-entry.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('goes home when it is told, and when its folder is gone', async () => {
  await using folder = await tempFolder()
  const entry = exampleEntry({ scratchFolder: folder.join('scratch') })
  await mkdir(entry.scratchFolder)
  const told = await startScratchGuard(entry, 0)
  const left = await startScratchGuard(entry, 0)
  expect([alive(told.pid), alive(left.pid)]).toEqual([true, true])
  told.done()
  await eventually(() => !alive(told.pid))
  expect(alive(left.pid)).toBe(true)
  await rm(entry.scratchFolder, { recursive: true })
  await eventually(() => !alive(left.pid))
})

test('of a killed agent stays on duty until the next agent’s guard takes over', async () => {
  await using folder = await tempFolder()
  const entry = exampleEntry({ scratchFolder: folder.join('scratch') })
  await mkdir(entry.scratchFolder)
  const program = folder.join('victim.ts')
  const module = pathToFileURL(resolve('agent/drivers/qmp/scratch-guard.ts')).href
  await writeFile(
    program,
    `import { startScratchGuard } from ${JSON.stringify(module)}
     console.log((await startScratchGuard(${JSON.stringify(entry)}, 0)).pid)
     setInterval(() => undefined, 1000)`,
  )
  const victim = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: victim.stdout }), 'line')
  const orphan = Number(line)
  victim.kill('SIGKILL')
  await once(victim, 'exit')
  expect(alive(orphan)).toBe(true)
  const next = await startScratchGuard(entry, 0)
  await eventually(() => !alive(orphan))
  expect(alive(next.pid)).toBe(true)
  next.done()
  await eventually(() => !alive(next.pid))
})

test('of a killed agent goes home when QEMU is gone too', async () => {
  await using folder = await tempFolder()
  const entry = exampleEntry({ scratchFolder: folder.join('scratch'), socketPath: folder.join('nbd') })
  await mkdir(entry.scratchFolder)
  const gone = { ...entry, machine: qmpMachine(folder.join('no-qmp')) }
  const module = pathToFileURL(resolve('agent/drivers/qmp/scratch-guard.ts')).href
  const script = `import { startScratchGuard } from ${JSON.stringify(module)}
     console.log((await startScratchGuard(${JSON.stringify(gone)}, 0)).pid)
     process.kill(process.pid, 'SIGKILL')`
  const args = ['--input-type=module-typescript', '--eval', script]
  const victim = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: victim.stdout }), 'line')
  await eventually(() => !alive(Number(line)))
})

test('a folder that is not there is an error, and no process stays', async () => {
  await using folder = await tempFolder()
  const entry = exampleEntry({ scratchFolder: folder.join('none') })
  await expect(startScratchGuard(entry, 0)).rejects.toMatchObject({ code: 'INTERNAL' })
})

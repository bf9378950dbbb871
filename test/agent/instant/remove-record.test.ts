// The end of a record beside a start script that holds the lock: it waits until the script's QEMU has its monitor.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { placesIn, type Places } from '../../../agent/instant/record.ts'
import { removeRecord } from '../../../agent/instant/remove-record.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

const made = async (temp: TempFolder): Promise<Places> => {
  const places = placesIn(temp.path)
  await mkdir(places.private)
  for (const file of [places.record, places.script]) await writeFile(file, '')
  return places
}

/** Holds the script's lock, as the script does, until its input ends. */
const holdLock = async ({ script }: Places) => {
  const child = spawn('flock', [script, 'sh', '-c', 'echo held; cat'], { stdio: ['pipe', 'pipe', 'ignore'] })
  await once(child.stdout, 'data')
  const ended = once(child, 'exit')
  return async (): Promise<void> => {
    child.stdin.end()
    await ended
  }
}

test('a record that nobody looks at goes at once', async () => {
  await using temp = await tempFolder()
  const places = await made(temp)
  await removeRecord(places)
  expect(existsSync(places.record)).toBe(false)
})

test.each(['QEMU listens', 'the script ends'])('it stays while a script starts the machine, until %s', async (how) => {
  await using temp = await tempFolder()
  const places = await made(temp)
  const release = await holdLock(places)
  const removing = removeRecord(places)
  // a lock that is held for good is not waited for
  const other = { ...places, record: temp.join('other') }
  await writeFile(other.record, '')
  await removeRecord(other, 300)
  expect([existsSync(other.record), existsSync(places.record)]).toEqual([false, true])
  const server = createServer()
  if (how === 'QEMU listens') await new Promise<void>((resolve) => server.listen(places.qmp, resolve))
  else await release()
  await removing
  expect(existsSync(places.record)).toBe(false)
  server.close()
  await release()
})

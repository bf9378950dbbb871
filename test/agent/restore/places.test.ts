// What is said of places before a restore: who uses them, and how many calls may look at once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { LOOKS_WAITING_MAX, Places } from '../../../agent/restore/places.ts'
import { startMachine } from '../../support/qemu.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'

const MIB = 1024 * 1024

const never = new AbortController().signal

const asked = (...to: string[]) => ({
  places: to.map((one) => ({ to: one, size: MIB, format: null, how: 'new' as const })),
})

const placesIn = (folder: string, taken: Record<string, string> = {}): Places =>
  new Places({ rules: () => ({ folders: [folder], devices: [] }), machines: [], writerOf: (at) => taken[at] })

test('what is there is told, and who uses it, while a machine may start on it', async () => {
  await using temp = await tempFolder()
  const file = temp.join('a.raw')
  await writeFile(file, Buffer.alloc(MIB))
  const places = placesIn(temp.path, { [temp.join('b')]: 'r1' })
  const look = async (to: string) => (await places.list(asked(to), never)).places[0]
  expect(await look(file)).toMatchObject({ there: 'file', thereBytes: MIB, format: 'raw', error: null })
  expect(await look(temp.join('b'))).toMatchObject({ error: { code: 'TARGET_IN_USE' } })
  expect(await look('/srv/x')).toMatchObject({ path: null, error: { code: 'RESTORE_FORBIDDEN' } })
  // no lock is taken, so that a look never keeps a machine from its disk
  const looking = Array.from({ length: 4 }, () => look(file))
  await using machine = await startMachine({
    folder: temp.path,
    disks: [{ id: 'vda', format: 'raw', file, size: MIB }],
  })
  await Promise.all(looking)
  expect(await look(file)).toMatchObject({ error: { code: 'TARGET_IN_USE' } })
  await machine.quit()
  expect(await look(file)).toMatchObject({ error: null })
})

test('one call looks and a few wait, a further one is refused, and who has gone is not looked for', async () => {
  await using temp = await tempFolder()
  const file = temp.join('busy')
  await writeFile(file, 'x')
  // what has it open is looked at several times
  await using handle = await open(file, 'r')
  const user = spawn('sleep', ['600'], { stdio: [handle.fd, 'ignore', 'ignore'] })
  await once(user, 'spawn')
  try {
    const places = placesIn(temp.path)
    const gone = new AbortController()
    const first = places.list(asked(file), never)
    const left = expect(places.list(asked(file), gone.signal)).rejects.toThrow(/abort/u)
    const others = Array.from({ length: LOOKS_WAITING_MAX - 1 }, () => places.list(asked(temp.join('new')), never))
    gone.abort()
    expect(await codeOf(places.list(asked(file), never))).toBe('LIMIT_REACHED')
    // the folders alone cost little
    expect((await places.list(asked(), never)).folders).toMatchObject([{ path: temp.path }])
    expect((await first).places).toMatchObject([{ error: { code: 'TARGET_IN_USE' } }])
    await left
    for (const one of await Promise.all(others)) expect(one.places).toMatchObject([{ there: null, error: null }])
    expect((await places.list(asked(temp.join('new')), never)).places).toHaveLength(1)
  } finally {
    user.kill()
  }
})

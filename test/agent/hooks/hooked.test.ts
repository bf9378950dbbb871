// Commands of the host around the instant of a lease: when they run, what a failing one means, and that the one after it runs
// whoever is killed. Method: a real QEMU, and commands that write into a file.
import { chmod, readFile, readdir, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { HookNotes } from '../../../agent/hooks/hook-notes.ts'
import { runLeftHooks } from '../../../agent/hooks/left-hooks.ts'
import { runHook } from '../../../agent/hooks/run-hook.ts'
import type { Hooks } from '../../../agent/hooks/settings.ts'
import { endProcess } from '../../../agent/process-mark.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { startBench, threeDisks, type LeaseBench } from '../../support/lease.ts'
import { Program } from '../../support/stand-program.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'

/** A command that writes when it runs, and ends as `then` says. */
const command = async (folder: TempFolder, name: string, then = 'exit 0'): Promise<string[]> => {
  const file = folder.join(name)
  await writeFile(
    file,
    `#!/bin/sh\necho "$VARVE_HOOK $VARVE_MACHINE $VARVE_RESULT $*" >> ${folder.join('ran')}\n${then}\n`,
  )
  await chmod(file, 0o755)
  return [file]
}

const ran = async (folder: TempFolder): Promise<string[]> =>
  (await readFile(folder.join('ran'), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '')

const hooked = (bench: LeaseBench, hooks: Hooks, wish: 'none' | 'freeze' | 'freeze-required' = 'none') => {
  const request = bench.request({ consistency: wish })
  return { ...request, machine: { ...request.machine, hooks } }
}

const hooksOf = async (folder: TempFolder, before = 'exit 0', after = 'exit 0', limitMs = 60_000): Promise<Hooks> => ({
  before: { words: [...(await command(folder, 'before', before)), 'a b', '$HOME'], limitMs },
  after: { words: await command(folder, 'after', after), limitMs },
})

test('both run around the instant, by their words; a failing one is told, and refused where a freeze is required', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const good = await agent.driver.begin(hooked(bench, await hooksOf(folder)))
  expect(good.consistencyNote).toMatch(
    /^the hook before the instant took [\d.]+ s; the hook after the instant took [\d.]+ s$/,
  )
  expect(await ran(folder)).toEqual(['before test  a b $HOME', 'after test crash '])
  await good.end('failed')

  await using _guest = await ScriptedGuestAgent.listen(folder.join('qga'))
  bench.guestAgent = folder.join('qga')
  const failing = await hooksOf(folder, 'echo first >&2; echo "no \u0007database" >&2; exit 3', 'exit 4')
  const told = await agent.driver.begin(hooked(bench, failing, 'freeze'))
  const note =
    'the hook before the instant failed: exit code 3: no  database; the hook after the instant failed: exit code 4'
  expect([told.consistency, told.consistencyNote]).toEqual(['frozen', note])
  await told.end('failed')
  const required = agent.driver.begin(hooked(bench, failing, 'freeze-required'))
  await expect(required).rejects.toMatchObject({ code: 'FREEZE_REQUIRED', details: { hook: 'before' } })
  expect((await ran(folder)).slice(-2)).toEqual(['before test  a b $HOME', 'after test failed '])
  expect(await readdir(folder.join('state', 'hooks'))).toEqual([])
})

test('a command that does not end is ended with all that it started; one that is not there is told', async () => {
  await using folder = await tempFolder()
  const words = await command(folder, 'slow', `sleep 1000 & echo $! > ${folder.join('pid')}; wait`)
  const { fault } = await runHook({ words, limitMs: 1500 }, {})
  expect(fault).toBe('did not end within 1.5 s')
  const pid = (await readFile(folder.join('pid'), 'utf8')).trim()
  await eventually(async () => !/\) [^ZX] /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')))
  const missing = await runHook({ words: [folder.join('missing')], limitMs: 5000 }, {})
  expect(missing.fault).toMatch(/^exit code \d+: .*No such file/)
})

test('whoever is killed, the command after the instant runs', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const notes = HookNotes.in(bench.stateFolder)
  const begun = async (hooks: Hooks): Promise<Program> => {
    const file = folder.join('begun.ts')
    const source = (path: string): string => JSON.stringify(pathToFileURL(resolve(path)).href)
    const lease = { stateFolder: bench.stateFolder, machine: 'test', lease: 'lease', hooks }
    await writeFile(
      file,
      `import { StartedHooks } from ${source('agent/hooks/hooked.ts')}
       const started = await StartedHooks.begin(${JSON.stringify(lease)})
       console.log('begun ' + started.fault)
       setInterval(() => undefined, 1000)`,
    )
    return new Program(file)
  }
  const hooks = await hooksOf(folder)
  // the agent, after the first command
  const killed = await begun(hooks)
  await killed.says(/begun null/)
  await killed.end('SIGKILL')
  await eventually(async () => (await notes.list()).length === 0)
  expect((await ran(folder)).slice(-1)).toEqual(['after test failed '])

  // the agent, during it
  const waiting = await hooksOf(folder, `until [ -e ${folder.join('go')} ]; do sleep 0.05; done`)
  const during = await begun(waiting)
  await eventually(async () => (await ran(folder)).length === 3)
  await during.end('SIGKILL')
  await writeFile(folder.join('go'), '')
  await eventually(async () => (await notes.list()).length === 0)
  expect((await ran(folder)).slice(-2)).toEqual(['before test  a b $HOME', 'after test failed '])

  // both: the next start, or the next lease of the machine, runs it
  const both = await begun(hooks)
  await both.says(/begun null/)
  const [note] = await notes.list()
  process.kill(both.pid, 'SIGSTOP')
  endProcess(note!.runner!)
  await both.end('SIGKILL')
  expect(await ran(folder)).toHaveLength(5)
  const told: string[] = []
  await runLeftHooks(notes, null, ({ machine }, { fault }) => told.push(`${machine} ${fault}`))
  expect([told, (await ran(folder)).slice(-1), await notes.list()]).toEqual([['test null'], ['after test failed '], []])

  // the agent, while its process stands still; and no note can be written
  const still = await begun(hooks)
  await still.says(/begun null/)
  process.kill((await notes.list())[0]!.runner!.pid, 'SIGSTOP')
  await still.end('SIGKILL')
  const full = Object.assign(HookNotes.in(bench.stateFolder), { write: () => Promise.reject(new Error('disk full')) })
  await runLeftHooks(full, null)
  expect([(await ran(folder)).slice(-2), await notes.list()]).toEqual([
    ['before test  a b $HOME', 'after test failed '],
    [],
  ])

  // its process alone: the agent runs it
  await using agent = await bench.agent({
    before: async (qmp) => {
      if (qmp !== 'transaction') return
      endProcess((await notes.list())[0]!.runner!)
    },
  })
  const lease = await agent.driver.begin(hooked(bench, hooks))
  expect(lease.consistencyNote).toMatch(/; the hook after the instant took [\d.]+ s$/)
  expect(await notes.list()).toEqual([])
  await lease.end('failed')
})

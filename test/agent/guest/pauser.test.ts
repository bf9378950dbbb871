// A machine that is stopped for the instant of its lease runs again whoever dies. Method: a real QEMU, and an agent of its own
// process that stands still at each of its commands, is killed there, stopped, or killed along with its guard.
import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { FreezeNotes } from '../../../agent/guest/freeze-notes.ts'
import { Thawer } from '../../../agent/guest/thawer.ts'
import { endProcess, markProcess, processState } from '../../../agent/process-mark.ts'
import { startBench, threeDisks, type LeaseBench } from '../../support/lease.ts'
import { Program } from '../../support/stand-program.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const quiet = { info: () => undefined, warn: () => undefined }

const stateOf = async ({ machine }: LeaseBench): Promise<string> =>
  ((await machine.control.execute('query-status')) as { status: string }).status

const notesOf = ({ stateFolder }: LeaseBench) => FreezeNotes.in(stateFolder).list()

const source = (path: string): string => JSON.stringify(pathToFileURL(resolve(path)).href)

/** A machine that runs. */
const startRunning = async (folder: string): Promise<LeaseBench> => {
  const bench = await startBench(folder, threeDisks(folder))
  await bench.machine.control.execute('cont')
  return bench
}

/** An agent that begins a lease with a pause, and stands still for good before or after one of its commands. */
const halting = async (bench: LeaseBench, command: string, when: string, limitMs = 60_000): Promise<Program> => {
  const file = `${bench.folder}/halting.ts`
  const request = bench.request({ consistency: 'pause', freezeTimeoutMs: limitMs })
  await writeFile(
    file,
    `import { QmpDriver } from ${source('agent/drivers/qmp/qmp-driver.ts')}
     import { driverHost } from ${source('test/support/driver-host.ts')}
     import { dyingAt } from ${source('test/support/lease.ts')}
     const host = await driverHost(${JSON.stringify(bench.stateFolder)}, { reserveBytes: 1 })
     const halt = (command) => (command === ${JSON.stringify(command)} ? ${JSON.stringify(when)} : null)
     const between = (client) => dyingAt(client, halt, () => console.log('halted'))
     const driver = new QmpDriver(host, { runtimeFolder: ${JSON.stringify(bench.runtimeFolder)}, between })
     setInterval(() => undefined, 1000)
     await driver.begin(${JSON.stringify(request)})
     console.log('begun')`,
  )
  const program = new Program(file)
  await program.says(/halted/)
  return program
}

test('stopped for the transaction and continued: the point says so, and a machine that stood already stays as it was', async () => {
  await using folder = await tempFolder()
  await using bench = await startRunning(folder.path)
  const commands: string[] = []
  await using agent = await bench.agent({ before: async (command) => void commands.push(command) })
  const lease = await agent.driver.begin(bench.request({ consistency: 'pause' }))
  expect(lease).toMatchObject({ consistency: 'paused', consistencyNote: null })
  const around = commands.slice(commands.indexOf('stop'), commands.indexOf('cont') + 1)
  expect(around).toEqual(['stop', 'transaction', 'query-status', 'cont'])
  expect(await stateOf(bench)).toBe('running')
  await lease.end('failed')
  await eventually(async () => (await notesOf(bench)).length === 0)

  await bench.machine.control.execute('stop')
  const still = await agent.driver.begin(bench.request({ consistency: 'pause' }))
  expect(still).toMatchObject({ consistency: 'paused', consistencyNote: 'the machine stood still already (paused)' })
  expect(await stateOf(bench)).toBe('paused')
  await still.end('failed')
})

test('a machine that somebody continues before the instant is as after a power cut', async () => {
  await using folder = await tempFolder()
  await using bench = await startRunning(folder.path)
  let client: { execute(command: string): Promise<unknown> } | null = null
  await using agent = await bench.agent({
    before: async (command) => {
      if (command === 'transaction') await client!.execute('cont')
    },
  })
  client = bench.machine.control
  const lease = await agent.driver.begin(bench.request({ consistency: 'pause', freezeTimeoutMs: 5000 }))
  const note = 'the machine was continued before the instant was taken (limit 5000 ms)'
  expect(lease).toMatchObject({ consistency: 'crash', consistencyNote: note })
  expect(await stateOf(bench)).toBe('running')
  await lease.end('failed')
})

describe('an agent that is killed', () => {
  test.each([
    ['stop', 'before'],
    ['stop', 'after'],
    ['transaction', 'after'],
    ['cont', 'before'],
    ['cont', 'after'],
  ])('%s: %s it', async (command, when) => {
    await using folder = await tempFolder()
    await using bench = await startRunning(folder.path)
    const agent = await halting(bench, command, when)
    const stopped = !((command === 'stop' && when === 'before') || (command === 'cont' && when === 'after'))
    expect(await stateOf(bench)).toBe(stopped ? 'paused' : 'running')
    await agent.end('SIGKILL')
    await eventually(async () => (await notesOf(bench)).length === 0)
    expect(await stateOf(bench)).toBe('running')
  })
})

test('an agent that hangs with the machine stopped is killed at the limit', async () => {
  await using folder = await tempFolder()
  await using bench = await startRunning(folder.path)
  await using hanging = await halting(bench, 'transaction', 'before', 300)
  const mark = markProcess(hanging.pid)!
  process.kill(hanging.pid, 'SIGSTOP')
  await eventually(async () => (await notesOf(bench)).length === 0)
  expect([processState(mark), await stateOf(bench)]).toEqual(['gone', 'running'])
})

test('where the guard dies with its agent, the next start continues the machine', async () => {
  await using folder = await tempFolder()
  await using bench = await startRunning(folder.path)
  const both = await halting(bench, 'transaction', 'before')
  const [note] = await notesOf(bench)
  process.kill(both.pid, 'SIGSTOP')
  endProcess(note!.freezer!)
  await both.end('SIGKILL')
  expect(await stateOf(bench)).toBe('paused')
  await using next = new Thawer({ notes: FreezeNotes.in(bench.stateFolder), log: quiet })
  next.start()
  await eventually(async () => (await notesOf(bench)).length === 0)
  expect(await stateOf(bench)).toBe('running')
})

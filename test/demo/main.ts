// The demonstration: a real Linux guest is backed up while it writes, and every restore point is proven to be right.
//
// Usage: node test/demo/main.ts [--libvirt] [--json] [--keep]   Exit codes: 0 all is right, 1 something is not, 130 interrupted.
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { plainHost } from './host.ts'
import { libvirtHost } from './libvirt-host.ts'
import { Teller, type Figures } from './report.ts'
import { Stage } from './stage.ts'
import { tellStory } from './story.ts'

/** Longest time that an interrupted story may take to notice, in milliseconds. */
const SETTLE_TIMEOUT_MS = 20_000

const USAGE = `Backs up a running Linux guest three times while it writes, restores every point and checks it.

  --libvirt  the guest is a domain of a libvirtd that the demonstration starts for itself
  --json     print one last line of JSON with the figures
  --keep     go on until Ctrl-C, and print a link that opens the console signed in
`

interface Options {
  readonly libvirt: boolean
  readonly json: boolean
  readonly keep: boolean
}

/** Resolves with the signal's name when the person wants to stop; a second signal does not cut the cleaning short. */
const interrupted = (): Promise<string> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal))
  })

const tellFailure = async (error: unknown, stage: Stage): Promise<string> => {
  const message = error instanceof Error ? error.message : String(error)
  console.error(`\nThe demonstration failed: ${message}`)
  if (stage.interrupted) return message
  for (const { name, tail } of await stage.logTails()) console.error(`\n--- end of the log of the ${name}\n${tail}`)
  return message
}

/** A reader of our output that has gone away must not keep us from cleaning up. */
const ignoreClosedOutput = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
}

/** Debian's packages of libvirt are installed when they are asked for, and missing. */
const installLibvirt = (): boolean => {
  const setup = path.join(import.meta.dirname, '../setup.sh')
  return spawnSync('sh', [setup, '--debian', 'libvirt', '--', 'true'], { stdio: 'inherit' }).status === 0
}

/** Lets a person look around until the signal; the exit code, as ending it so is what was asked for. */
const keepOn = async (stage: Stage, signal: Promise<string>): Promise<number> => {
  try {
    console.log(await stage.hints())
  } catch (error) {
    await tellFailure(error, stage)
    return 1
  }
  await signal
  console.log('\nEnding gateway, agent and guest.')
  return 0
}

const demonstrate = async (options: Options): Promise<number> => {
  const teller = new Teller()
  const folder = await mkdtemp(path.join(tmpdir(), 'varve-demo-'))
  const stage = new Stage(folder, options.libvirt ? libvirtHost(folder) : plainHost(folder))
  const figures: Figures = {
    ok: false,
    seconds: 0,
    guest: { cached: false, bootSeconds: 0, reports: 0 },
    points: [],
    selfCheck: { ok: 0, bad: 0 },
  }
  let exitCode = 0
  const signal = interrupted()
  const story = tellStory(stage, teller, figures)
  try {
    const stop = signal.then((name) => stage.interrupt(name))
    await Promise.race([story, stop])
    figures.ok = true
  } catch (error) {
    exitCode = stage.interrupted ? 130 : 1
    figures.error = await tellFailure(error, stage)
  }
  figures.seconds = Math.round(teller.seconds * 10) / 10
  if (figures.ok) teller.say('All is right.')
  if (figures.ok && options.keep) exitCode = await keepOn(stage, signal)
  await stage[Symbol.asyncDispose]()
  const settled = story.catch(() => undefined)
  await Promise.race([settled, sleep(SETTLE_TIMEOUT_MS)])
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  if (options.json) console.log(JSON.stringify(figures))
  return exitCode
}

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      libvirt: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  ignoreClosedOutput()
  if (values.libvirt && !installLibvirt()) return 1
  return demonstrate(values)
}

// What runs in the background is over or let go by now, and an interrupted story must not hold the end up.
process.exit(await main())

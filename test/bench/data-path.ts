// The scenario of the data path: whole backups and restores of a real QEMU's disk beside other programs on the same image.
import { mkdir, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { run as runProgram } from '../rig/run.ts'
import { besideGoals, besideTable, observeBeside } from './beside.ts'
import { bytesTable, disturbanceNote, timesTable } from './data-path-tables.ts'
import { dataPathGoals, GOALS_NOTE } from './goals.ts'
import { requireSpace } from './host.ts'
import { benchImage, type BenchImage } from './image.ts'
import { borgRound, pipedRound, resticRound, sidResticRound, singleRound } from './peers.ts'
import { OPERATIONS, Recorder } from './recorder.ts'
import { gibibytes } from './report.ts'
import { newestRestic } from './restic.ts'
import { inParts, type ScenarioContext, type Work } from './scenario.ts'
import { summarise } from './statistics.ts'
import { tlsRound, varveRound, type RoundOptions } from './varve.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = 4 * GIB
const QUICK_IMAGE_BYTES = GIB

/** Disk space that a run may take at one time, as a multiple of the image's size. */
const SPACE_FACTOR = 6

/** Free memory that is made ready before each operation, as a multiple of the image's size. */
const READY_FACTOR = 1

type Group = (options: RoundOptions) => Promise<void>

/** Each does all of its operations before the next; which is first changes from round to round. */
const groupsOf = (restic: string | null): readonly Group[] => [
  varveRound,
  singleRound,
  tlsRound,
  resticRound,
  ...(restic === null ? [] : [(options: RoundOptions) => sidResticRound(restic, options)]),
  borgRound,
  (options) => pipedRound(restic ?? 'restic', options),
]

const METHOD = [
  `A time runs from the start of the command to its end and a sync of the file system. Gateway, agent and QEMU are processes of
their own on this machine, connected by WebSocket on loopback; the page cache is warm. Peak memory is resident memory with
shared pages. "CPU of others" is what the rest of the machine took meanwhile, kernel threads included. Floor: what the changed
chunks take when compressed with zstd 1.`,
  `Before every operation, ours and the others', a file of ${READY_FACTOR} times the image's size is written and removed:
a virtual machine that gives free memory back to its host would make whoever allocates some fetch it again. Each round
begins with another group: Varve beside what goes through its QEMU, zstd and qemu-img, Varve over TLS, restic, the newest
restic, borg, and both of these behind nbdcopy.`,
  `"Behind nbdcopy from QEMU": nbdcopy reads the disk from a QEMU of its own and writes it to the peer's standard input, zeroes
included; the peers that read the raw file are spared QEMU's NBD server.`,
  `nbdsh reads the clusters that a bitmap of the bench's own over the same writes calls dirty, through an NBD export of the same
QEMU, into memory and no further: block status, then one pread after the other (64 aio_pread at once were slower).`,
]

const BESIDE_METHOD = [
  `What others notice was seen in a run of its own, with its own gateway: machines.list of another tenant every 10 ms from the
command's start to its end; the delay of the gateway's event loop by perf_hooks.monitorEventLoopDelay, without its 10 ms
between looks; a 4 KiB write of the machine's device at a random place every 10 ms, from the first that went through the
backup's filter in QEMU to the command's end, timed by who asked for it. Time that a call or write waited for the one before counts.`,
  `Beside nbdcopy: the machine's disk as of one instant is read whole, for 5 s or once, through the same means that the agent
has QEMU use (a scratch image into which a job copies what the guest overwrites, an NBD export of it), without agent and gateway. To
null it is read as fast as QEMU gives it, so QEMU is busier than beside a backup; with zstd behind it at about a backup's pace.`,
]

/** Reads the image's files once, so that no group pays for the others. */
const warm = async (image: BenchImage, signal: AbortSignal): Promise<void> => {
  await runProgram('sh', ['-c', 'cat "$@" >/dev/null', 'cat', image.raw, image.qcow2], { signal })
}

const runRounds = async (
  image: BenchImage,
  groups: readonly Group[],
  recorder: Recorder,
  context: ScenarioContext,
): Promise<void> => {
  const { rounds, signal } = context
  const folder = path.join(context.folder, 'round')
  for (let round = 0; round < rounds; round++) {
    recorder.beginRound()
    const first = round % groups.length
    for (const group of [...groups.slice(first), ...groups.slice(0, first)]) {
      await warm(image, signal)
      await mkdir(folder)
      await group({ image, folder, recorder, verify: round === 0, signal })
      await rm(folder, { recursive: true })
    }
  }
}

const sizeOf = ({ quick }: ScenarioContext): number => (quick ? QUICK_IMAGE_BYTES : IMAGE_BYTES)

const imageOf = async (context: ScenarioContext): Promise<BenchImage> => {
  const { cache, signal, say } = context
  const size = sizeOf(context)
  await requireSpace(cache, SPACE_FACTOR * size)
  say('making the image, where it is not there from an earlier run')
  return await benchImage(cache, size, signal)
}

/** Whole commands, ours and the others'. */
const operations: Work = async (context) => {
  const { cache, signal, say } = context
  const image = await imageOf(context)
  const { size } = image
  const recorder = new Recorder({ titles: OPERATIONS, syncFolder: cache, readyBytes: READY_FACTOR * size, signal, say })
  const restic = await newestRestic()
  await runRounds(image, groupsOf(restic.program), recorder, context)
  const { samples } = recorder
  const summaries = summarise(OPERATIONS, samples)
  const cores = availableParallelism()
  const { files, fileBytes, allocatedBytes } = image
  const sid = `${restic.program === null ? 'No restic of Debian sid' : 'The restic of Debian sid'}: ${restic.told}.`
  const absent = restic.program === null ? [sid] : []
  const disk = `A disk of ${gibibytes(size)} with ${files} files of the machine's own programs and libraries, ${gibibytes(fileBytes)};
${gibibytes(allocatedBytes)} of the raw image are not holes.`
  return {
    tables: [timesTable(summaries, cores, absent), bytesTable(summaries)],
    goals: dataPathGoals(summaries, samples),
    notes: [disturbanceNote(summaries, cores), disk, sid, GOALS_NOTE, ...METHOD],
    details: { image: { size, files, fileBytes, allocatedBytes }, restic: restic.told, summaries, samples },
  }
}

const beside: Work = async (context) => {
  const { folder, signal, say } = context
  const image = await imageOf(context)
  say('what others notice of a first full backup')
  const seen = await observeBeside({ image, folder, signal })
  return { tables: [besideTable(seen)], goals: besideGoals(seen), notes: BESIDE_METHOD, details: seen }
}

export const parts = { operations, beside }

export const run = inParts(parts)

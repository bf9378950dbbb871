// The scenario of libvirt: one domain backed up by Varve and by Debian's virtnbdbackup, in one run and at once.
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { availableParallelism, getPriority } from 'node:os'
import path from 'node:path'
import { run as runProgram } from '../rig/run.ts'
import { startLibvirt, type TestLibvirt } from '../support/libvirt.ts'
import { disturbanceNote, timesTable } from './data-path-tables.ts'
import { requireSpace } from './host.ts'
import { benchImage, type BenchImage } from './image.ts'
import { BenchDomain } from './libvirt-domain.ts'
import { openVarve, openVirtnbdbackup, type Level, type Product } from './libvirt-products.ts'
import {
  operationId,
  ratioTable,
  storeTable,
  titlesOf,
  togetherTable,
  writesBefore,
  type OperationId,
} from './libvirt-report.ts'
import { libvirtGoals, PRODUCTS, type ProductId, type WorkId } from './libvirt-report.ts'
import { backUpTogether } from './libvirt-together.ts'
import type { Watched } from './measure.ts'
import { Recorder } from './recorder.ts'
import { gibibytes } from './report.ts'
import type { Report, Scenario, ScenarioContext } from './scenario.ts'
import { summarise } from './statistics.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = 2 * GIB
const QUICK_IMAGE_BYTES = GIB

/** Disk space that a run may take at one time, as a multiple of the image's size. */
const SPACE_FACTOR = 6

const READY_TIMEOUT_MS = 30_000

/** Domains' disks lie where the unprivileged user of their QEMU may come, and a home folder may be closed. */
const PLACE = '/var/tmp/varve-bench-'

const METHOD = [
  `A domain of a libvirtd in session mode, as an unprivileged user. Every product has a fresh one with the same content, does a
full backup and two increments (before each the domain's device writes blocks of 4 KiB of random bytes at random places), and
restores the last point to a qcow2 file. Which product comes first changes from round to round. What is restored is
compared with a raw image that had the same writes, byte for byte, in the first round also the points before the last one.`,
  `A time runs from the start of the command to its end and a sync of the file system; the page cache is warm. Varve's agent and
gateway are processes of their own on this machine, connected by WebSocket on loopback, and their store checks, deduplicates
and compresses (zstd 1); virtnbdbackup writes files into a folder, without or with lz4 (its --compress). It sleeps for a second
before it connects to the export. CPU is that of all processes with a part in it: the command and its children, agent,
gateway, the domain's QEMU and libvirtd. Memory is their sum of peaks without QEMU and libvirtd, shared pages included.
Stored is what the product's folder takes more on the disk afterwards, catalogs and logs included.`,
  `virtnbdrestore leaves the work of writing to a qemu-nbd that is nobody's child: its CPU is in "CPU of others" there, and what it
still does after the command's end is not in the time.`,
]

/** Said where the run had another share of a busy machine than its neighbours. */
const priorityNote = (): readonly string[] => {
  const nice = getPriority()
  return nice === 0 ? [] : [`The run, all products alike, had the nice value ${nice}.`]
}

/** What files in a folder take on the disk, in bytes. */
const allocatedBytes = async (folder: string): Promise<number> => {
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  const sizes = await Promise.all(names.map(async (name) => (await stat(path.join(folder, name))).blocks * 512))
  return sizes.reduce((sum, bytes) => sum + bytes, 0)
}

interface Round {
  readonly context: ScenarioContext
  readonly libvirt: TestLibvirt
  readonly daemon: Watched
  readonly image: BenchImage
  readonly recorder: Recorder<OperationId>
  readonly folder: string
}

const openProduct = (id: ProductId, { libvirt, folder, context }: Round): Promise<Product> => {
  const own = path.join(folder, id)
  return id === 'varve' ? openVarve(libvirt, own, context.signal) : openVirtnbdbackup(libvirt, own, id === 'lz4')
}

/** One product's turn: full, increments and restores of a domain of its own. */
const turn = async (id: ProductId, round: Round): Promise<void> => {
  const { context, libvirt, daemon, image, recorder, folder } = round
  const { signal } = context
  await using domain = await BenchDomain.start(libvirt, path.join(folder, 'domain'), image, signal)
  await using product = await openProduct(id, round)
  const watched = [...product.watched, await domain.qemu(), daemon]
  const target = path.join(folder, 'restored')
  const restored = async (point: string, work: WorkId | null): Promise<void> => {
    await mkdir(target)
    const command = product.restore(point, target)
    if (work === null) await runProgram(command.program, command.args, { timeoutMs: READY_TIMEOUT_MS * 10, signal })
    else await recorder.time(operationId(id, work), command, watched)
    await domain.compare(path.join(target, 'disk.qcow2'))
    await rm(target, { recursive: true })
  }
  try {
    let point = ''
    for (const work of ['full', 'small', 'large'] as const) {
      const level: Level = work === 'full' ? 'full' : 'incremental'
      const writes = writesBefore(work, context.quick)
      // The timed restore is compared in every round.
      if (point !== '' && recorder.round === 1) await restored(point, null)
      if (writes > 0) await domain.write(writes, writes)
      const before = await allocatedBytes(product.store)
      point = await product.pointOf(level, await recorder.time(operationId(id, work), product.backup(level), watched))
      recorder.note({ bytesStored: (await allocatedBytes(product.store)) - before })
    }
    await restored(point, 'restore')
  } catch (error) {
    if (!signal.aborted) console.error(await product.logTails())
    throw error
  }
}

const runRounds = async (parts: Omit<Round, 'folder'>, place: string): Promise<void> => {
  const ids = Object.keys(PRODUCTS) as ProductId[]
  for (let index = 0; index < parts.context.rounds; index++) {
    parts.recorder.beginRound()
    const first = index % ids.length
    for (const id of [...ids.slice(first), ...ids.slice(0, first)]) {
      const folder = path.join(place, 'round')
      await mkdir(folder, { mode: 0o711 })
      await turn(id, { ...parts, folder })
      await rm(folder, { recursive: true })
    }
  }
}

const measureIn = async (place: string, context: ScenarioContext): Promise<Report> => {
  const { cache, quick, signal, say } = context
  const size = quick ? QUICK_IMAGE_BYTES : IMAGE_BYTES
  await requireSpace(place, SPACE_FACTOR * size)
  say('making the image, where it is not there from an earlier run')
  const image = await benchImage(cache, size, signal)
  const home = path.join(place, 'libvirt')
  await chmod(place, 0o711)
  await mkdir(home)
  await using libvirt = await startLibvirt({ folder: home, detached: true })
  const daemon = { name: 'libvirtd', pid: libvirt.pid }
  const titles = titlesOf(quick)
  const recorder = new Recorder<OperationId>({ titles, syncFolder: place, readyBytes: size, signal, say })
  say('both products on one domain')
  const folder = path.join(place, 'together')
  await mkdir(folder, { mode: 0o711 })
  const turns = await backUpTogether({ libvirt, image, folder, signal })
  await runRounds({ context, libvirt, daemon, image, recorder }, place)
  const summaries = summarise(titles, recorder.samples)
  const cores = availableParallelism()
  const { files, fileBytes, allocatedBytes: imageBytes } = image
  const disk = `A disk of ${gibibytes(size)} with ${files} files of the machine's own programs and libraries, ${gibibytes(fileBytes)};
${gibibytes(imageBytes)} of the raw image are not holes.`
  return {
    tables: [ratioTable(summaries, quick), timesTable(summaries, cores), storeTable(summaries), togetherTable(turns)],
    goals: libvirtGoals(summaries),
    notes: [disturbanceNote(summaries, cores), ...priorityNote(), disk, ...METHOD],
    details: {
      image: { size, files, fileBytes, allocatedBytes: imageBytes },
      summaries,
      turns,
      samples: recorder.samples,
    },
  }
}

export const run: Scenario['run'] = async (context): Promise<Report> => {
  const place = await mkdtemp(PLACE)
  try {
    return await measureIn(place, context)
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

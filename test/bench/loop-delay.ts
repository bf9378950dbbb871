// Preloaded into a program with `--import FILE_URL?to=PATH`: on SIGUSR2, writes how late its event loop was since the last time.
import { renameSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

const RESOLUTION_MS = 10
const NS_PER_MS = 1e6

const watch = (target: string): void => {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  process.on('SIGUSR2', () => {
    // what is recorded is the time between two looks, so the pause between them is in it
    const late = (ns: number): number => Math.max(0, ns / NS_PER_MS - RESOLUTION_MS)
    const { count, max } = histogram
    const [p50Ms, p99Ms] = [50, 99].map((percentile) => late(histogram.percentile(percentile)))
    writeFileSync(`${target}.new`, JSON.stringify({ count, p50Ms, p99Ms, mostMs: late(max) }))
    renameSync(`${target}.new`, target)
    histogram.reset()
  })
}

const target = new URL(import.meta.url).searchParams.get('to')
// preloads run in worker threads too, which get no signals
if (isMainThread && target !== null) watch(target)

// How the process itself is: processor time, memory, and how late its event loop is, under the names that Node's dashboards know.
import { readdir } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from '@prometheus-io/client'

/** How often the event loop's delay is sampled, in milliseconds. */
const SAMPLE_MS = 20

const NS_PER_S = 1e9

const lag = (what: string): string => `Delay of the event loop since the last scrape, ${what}.`

// the library's own collectors of these can never be stopped
export class ProcessMeter implements Disposable {
  readonly #lag = monitorEventLoopDelay({ resolution: SAMPLE_MS })
  readonly #cpu: Counter
  readonly #gauges: Readonly<Record<'resident' | 'heapUsed' | 'heapTotal' | 'external' | 'fds', Gauge>>
  readonly #lags: Readonly<Record<'mean' | 'p99' | 'max', Gauge>>

  constructor(registry: Registry) {
    const registers = [registry]
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers })
    this.#cpu = new Counter({ name: 'process_cpu_seconds_total', help: 'Processor time of the process.', registers })
    gauge('process_start_time_seconds', 'When the process started, in seconds since 1970.').set(
      performance.timeOrigin / 1000,
    )
    this.#gauges = {
      resident: gauge('process_resident_memory_bytes', 'Memory of the process that is in RAM.'),
      heapUsed: gauge('nodejs_heap_size_used_bytes', 'Memory of JavaScript objects in use.'),
      heapTotal: gauge('nodejs_heap_size_total_bytes', 'Memory reserved for JavaScript objects.'),
      external: gauge('nodejs_external_memory_bytes', 'Memory of buffers outside of the JavaScript heap.'),
      fds: gauge('process_open_fds', 'Open file descriptors.'),
    }
    this.#lags = {
      mean: gauge('nodejs_eventloop_lag_mean_seconds', lag('on average')),
      p99: gauge('nodejs_eventloop_lag_p99_seconds', lag('of which 1 % was longer')),
      max: gauge('nodejs_eventloop_lag_max_seconds', lag('at most')),
    }
    this.#lag.enable()
  }

  /** Puts what is so now into the registry. */
  async look(): Promise<void> {
    const { user, system } = process.cpuUsage()
    this.#cpu.reset()
    this.#cpu.inc((user + system) / 1e6)
    const { rss, heapUsed, heapTotal, external } = process.memoryUsage()
    this.#gauges.resident.set(rss)
    this.#gauges.heapUsed.set(heapUsed)
    this.#gauges.heapTotal.set(heapTotal)
    this.#gauges.external.set(external)
    const lag = this.#lag
    const isNew = lag.count > 0
    this.#lags.mean.set(isNew ? Math.max(0, lag.mean / NS_PER_S - SAMPLE_MS / 1000) : 0)
    this.#lags.p99.set(isNew ? Math.max(0, lag.percentile(99) / NS_PER_S - SAMPLE_MS / 1000) : 0)
    this.#lags.max.set(isNew ? Math.max(0, lag.max / NS_PER_S - SAMPLE_MS / 1000) : 0)
    lag.reset()
    // absent where /proc is not mounted
    const fds = await readdir('/proc/self/fd').catch(() => null)
    if (fds !== null) this.#gauges.fds.set(fds.length)
  }

  [Symbol.dispose](): void {
    this.#lag.disable()
  }
}

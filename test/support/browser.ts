// The browser of the tests: Chromium's headless shell, which starts and opens pages in half the time of the whole program.
import { chromium, type Browser } from 'playwright-core'

/** What a browser needs in a container without a GPU, and what no test looks at. */
const ARGUMENTS = [
  '--no-sandbox',
  '--no-zygote',
  '--disable-gpu',
  '--in-process-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
]

/** Of the Debian package `chromium-headless-shell`, the group `browser` of test/setup.sh. */
const EXECUTABLE = '/usr/bin/chromium-headless-shell'

export const startBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: EXECUTABLE, headless: true, args: ARGUMENTS })

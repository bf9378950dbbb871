// Loaded into a program (node --import), it adds to the time of day what the file named by VARVE_TEST_CLOCK says, in
// milliseconds; timers go on as they do.
import { readFileSync } from 'node:fs'

const file = process.env['VARVE_TEST_CLOCK'] ?? ''
const now = Date.now.bind(Date)

Date.now = () => now() + Number(readFileSync(file, 'utf8'))

// Writes the documents that are made from the sources anew: `npm run documents`.
import { writeFileSync } from 'node:fs'
import { METHODS_PAGE, methodsPage } from './methods-page.ts'

writeFileSync(METHODS_PAGE, await methodsPage())

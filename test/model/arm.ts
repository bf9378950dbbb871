// Loaded before the code of every thread of a life: makes it take part in the life's faults.
import { Control } from './control.ts'

Control.join()

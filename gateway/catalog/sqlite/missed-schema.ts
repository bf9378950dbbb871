// The migration that brings the disks of restore points whose bitmaps have missed changes.
import { tallyFirst } from './tally-schema.ts'

/** The version of this migration. */
const VERSION = 15

export const MISSED_SCHEMA = `
CREATE TABLE missed (
  tenant INTEGER NOT NULL REFERENCES tenant, point TEXT NOT NULL, disk TEXT NOT NULL, PRIMARY KEY (tenant, point, disk)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER state_missed_added AFTER INSERT ON missed
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_missed_removed AFTER DELETE ON missed
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = OLD.tenant; END;
${tallyFirst('missed', VERSION)}
`

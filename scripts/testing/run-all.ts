/** Runs files of tests in this one process. */
for (const file of process.argv.slice(2)) await import(file);

// Runs one check of a module beside this file: run.mjs MODULE CHECK, with the server's address in SERVER_URL.
// A check gets the address and what the tests know, and returns what the client gave, which is printed as JSON.
const [, , module, check] = process.argv;
const given = JSON.parse(process.env.GIVEN);
const checks = await import(`./${module}.mjs`);
const result = await checks[check](process.env.SERVER_URL, given);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

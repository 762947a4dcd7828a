// The least one would write instead of duplistatus-cron: two empty tasks and /health. Started with a port.
import express from "express";
import cron from "node-cron";

for (const expression of ["*/5 * * * *", "0 2 * * *"]) {
  cron.schedule(expression, () => {}, { timezone: "UTC" });
}
express()
  .get("/health", (_request, response) => response.json({ isRunning: true }))
  .listen(Number(process.argv[2]), "127.0.0.1");

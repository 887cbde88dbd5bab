// A Node server that closes connections after 1045 ms of idleness: requests and closings cross on the wire.
// Prints its port; ends when its standard input closes.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end("ok"));
});
// Node closes after keepAliveTimeout and a second more; newer versions have a name for that second.
server.keepAliveTimeout = 45;
server.keepAliveTimeoutBuffer = 1000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));

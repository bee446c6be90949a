// Serves the fake on the port of loopback that it is given; the first line it prints is its address.
const TelegramServer = require("telegram-test-api");

const server = new TelegramServer({ host: "127.0.0.1", port: Number(process.argv[2]), storeTimeout: 600 });
server.start().then(() => console.log(server.config.apiURL));

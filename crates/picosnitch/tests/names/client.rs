//! Connects to port 7000 of each name and sends KIND and the name: client KIND NAME...
use std::{
    io::{Read, Write},
    net::TcpStream,
};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    for name in &arguments[2..] {
        let mut connection = TcpStream::connect((name.as_str(), 7000))?;
        connection.write_all(format!("{} {name}\n", arguments[1]).as_bytes())?;
        connection.read(&mut [0; 100])?;
    }
    Ok(())
}

// CV32E40P with its debug module and RAM without wait states. JTAG pins are ports; there is nothing else on the bus.
//
//   0x0000_0000  4 KiB      the debug module's ROM and buffers, for the core in debug mode
//   0x8000_0000  RAM_BYTES  RAM: two ports for the core, one for the debug module
//
// Elsewhere there is nothing: fetches find 0, an illegal instruction; loads find 0 and stores are lost, and either raises
// interrupt 31 (the core has no input for bus errors). The debug module reaches RAM alone, by words; it tells of other
// addresses.
module soc #(
    parameter bit PULP = 0,
    parameter int unsigned RAM_BYTES = 4 << 20
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic tck_i,
    input  logic tms_i,
    input  logic tdi_i,
    input  logic trst_ni,
    output logic tdo_o,
    output logic halted_o,
    output logic busy_o  // the debug module executes a command
);
  localparam logic [31:0] RAM_BASE = 32'h8000_0000;
  localparam int unsigned WORDS = RAM_BYTES / 4;
  localparam int unsigned BUS_ERROR_IRQ = 31;

  function automatic logic in_debug(logic [31:0] address);
    return address[31:12] == '0;
  endfunction

  function automatic logic in_ram(logic [31:0] address);
    return address - RAM_BASE < RAM_BYTES;
  endfunction

  function automatic logic [$clog2(WORDS)-1:0] word(logic [31:0] address);
    return address[$clog2(WORDS)+1:2];
  endfunction

  logic [31:0] ram[WORDS]  /*verilator public_flat_rw*/;

  // The core.

  logic ndmreset, core_rst_n, debug_req;
  logic instr_req, instr_gnt, instr_rvalid;
  logic [31:0] instr_addr, instr_rdata;
  logic data_req, data_gnt, data_rvalid, data_we;
  logic [3:0] data_be;
  logic [31:0] data_addr, data_wdata, data_rdata;
  logic bus_error, irq_ack;
  logic [4:0] irq_id;

  assign core_rst_n = rst_ni & ~ndmreset;

  cv32e40p_top #(
      .COREV_PULP(PULP),
      .FPU(0),
      .NUM_MHPMCOUNTERS(1)
  ) core (
      .clk_i,
      .rst_ni(core_rst_n),
      .pulp_clock_en_i(1'b1),
      .scan_cg_en_i(1'b0),
      .boot_addr_i(RAM_BASE),
      .mtvec_addr_i(RAM_BASE),
      .dm_halt_addr_i(dm::HaltAddress[31:0]),
      .hart_id_i(32'd0),
      .dm_exception_addr_i(dm::ExceptionAddress[31:0]),
      .instr_req_o(instr_req),
      .instr_gnt_i(instr_gnt),
      .instr_rvalid_i(instr_rvalid),
      .instr_addr_o(instr_addr),
      .instr_rdata_i(instr_rdata),
      .data_req_o(data_req),
      .data_gnt_i(data_gnt),
      .data_rvalid_i(data_rvalid),
      .data_we_o(data_we),
      .data_be_o(data_be),
      .data_addr_o(data_addr),
      .data_wdata_o(data_wdata),
      .data_rdata_i(data_rdata),
      .irq_i(32'(bus_error) << BUS_ERROR_IRQ),
      .irq_ack_o(irq_ack),
      .irq_id_o(irq_id),
      .debug_req_i(debug_req),
      .debug_havereset_o(),
      .debug_running_o(),
      .debug_halted_o(halted_o),
      .fetch_enable_i(1'b1),
      .core_sleep_o()
  );

  // The bus: every request is granted at once and answered in the next cycle. The debug module has one port for the
  // core: data go first, a fetch waits.

  logic dm_data, dm_fetch, dm_we;
  logic [31:0] dm_addr, dm_rdata;
  logic [3:0] dm_be;

  assign dm_data   = data_req & in_debug(data_addr);
  assign dm_fetch  = instr_req & in_debug(instr_addr);
  assign dm_we     = dm_data & data_we;
  assign dm_addr   = dm_data ? data_addr : instr_addr;
  assign dm_be     = dm_data ? data_be : 4'hf;
  assign data_gnt  = data_req;
  assign instr_gnt = instr_req & ~(dm_fetch & dm_data);

  typedef enum logic [1:0] {NOTHING, RAM, DEBUG} place_e;
  place_e instr_from, data_from;
  logic [31:0] instr_word, data_word;

  function automatic place_e place(logic [31:0] address);
    return in_ram(address) ? RAM : in_debug(address) ? DEBUG : NOTHING;
  endfunction

  always_ff @(posedge clk_i) begin
    instr_from <= place(instr_addr);
    data_from  <= place(data_addr);
    instr_word <= ram[word(instr_addr)];
    if (data_req & in_ram(data_addr)) begin
      if (data_we) begin
        for (int i = 0; i < 4; i++) if (data_be[i]) ram[word(data_addr)][8*i+:8] <= data_wdata[8*i+:8];
      end else data_word <= ram[word(data_addr)];
    end
    if (sb_req) begin
      if (sb_we & in_ram(sb_addr)) begin
        for (int i = 0; i < 4; i++) if (sb_be[i]) ram[word(sb_addr)][8*i+:8] <= sb_wdata[8*i+:8];
      end
      sb_rdata <= in_ram(sb_addr) ? ram[word(sb_addr)] : '0;
    end
  end

  always_ff @(posedge clk_i or negedge core_rst_n) begin
    if (!core_rst_n) begin
      instr_rvalid <= 1'b0;
      data_rvalid  <= 1'b0;
      bus_error    <= 1'b0;
    end else begin
      instr_rvalid <= instr_req & instr_gnt;
      data_rvalid  <= data_req;
      if (irq_ack && irq_id == BUS_ERROR_IRQ) bus_error <= 1'b0;
      else if (data_req && place(data_addr) == NOTHING && !halted_o) bus_error <= 1'b1;
    end
  end

  assign instr_rdata = instr_from == RAM ? instr_word : instr_from == DEBUG ? dm_rdata : '0;
  assign data_rdata  = data_from == RAM ? data_word : data_from == DEBUG ? dm_rdata : '0;

  // The debug module, its own way to the RAM, and JTAG.

  logic sb_req, sb_we, sb_rvalid;
  logic [3:0] sb_be;
  logic [31:0] sb_addr, sb_wdata, sb_rdata;
  logic dmi_rst_n, dmi_req_valid, dmi_req_ready, dmi_resp_valid, dmi_resp_ready;
  dm::dmi_req_t dmi_req;
  dm::dmi_resp_t dm_resp, dmi_resp;
  dm::hartinfo_t hartinfo;

  assign busy_o = debug_module.cmdbusy;
  assign hartinfo = '{
          zero1: '0,
          nscratch: 2,
          zero0: '0,
          dataaccess: 1'b1,
          datasize: dm::DataCount,
          dataaddr: dm::DataAddr
      };

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) sb_rvalid <= 1'b0;
    else sb_rvalid <= sb_req;
  end

  // This debug module has no input for bus errors. What it can't know is added to what a debugger reads of it: the field
  // sberror of the register sbcs (RISC-V debug specification 0.13.2, 3.12.18), sticky until ones are written.
  localparam logic [2:0] BAD_ADDRESS = 3'd2;
  logic [2:0] sberror;
  logic sbcs_read;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      sberror   <= '0;
      sbcs_read <= 1'b0;
    end else begin
      if (dmi_req_valid & dmi_req_ready) sbcs_read <= dmi_req.op == dm::DTM_READ && dmi_req.addr == 7'(dm::SBCS);
      if (sb_req & ~in_ram(sb_addr)) sberror <= BAD_ADDRESS;
      else if (dmi_req_valid && dmi_req_ready && dmi_req.op == dm::DTM_WRITE && dmi_req.addr == 7'(dm::SBCS))
        sberror <= sberror & ~dmi_req.data[14:12];
    end
  end

  always_comb begin
    dmi_resp = dm_resp;
    if (sbcs_read) dmi_resp.data[14:12] |= sberror;
  end

  dm_top #(
      .NrHarts(1),
      .BusWidth(32)
  ) debug_module (
      .clk_i,
      .rst_ni,
      .testmode_i(1'b0),
      .ndmreset_o(ndmreset),
      .dmactive_o(),
      .debug_req_o(debug_req),
      .unavailable_i(1'b0),
      .hartinfo_i(hartinfo),
      .slave_req_i(dm_data | dm_fetch),
      .slave_we_i(dm_we),
      .slave_addr_i(dm_addr),
      .slave_be_i(dm_be),
      .slave_wdata_i(data_wdata),
      .slave_rdata_o(dm_rdata),
      .master_req_o(sb_req),
      .master_add_o(sb_addr),
      .master_we_o(sb_we),
      .master_wdata_o(sb_wdata),
      .master_be_o(sb_be),
      .master_gnt_i(sb_req),
      .master_r_valid_i(sb_rvalid),
      .master_r_rdata_i(sb_rdata),
      .dmi_rst_ni(dmi_rst_n),
      .dmi_req_valid_i(dmi_req_valid),
      .dmi_req_ready_o(dmi_req_ready),
      .dmi_req_i(dmi_req),
      .dmi_resp_valid_o(dmi_resp_valid),
      .dmi_resp_ready_i(dmi_resp_ready),
      .dmi_resp_o(dm_resp)
  );

  dmi_jtag #(
      .IdcodeValue(32'h249511C3)
  ) jtag (
      .clk_i,
      .rst_ni,
      .testmode_i(1'b0),
      .dmi_rst_no(dmi_rst_n),
      .dmi_req_o(dmi_req),
      .dmi_req_valid_o(dmi_req_valid),
      .dmi_req_ready_i(dmi_req_ready),
      .dmi_resp_i(dmi_resp),
      .dmi_resp_ready_o(dmi_resp_ready),
      .dmi_resp_valid_i(dmi_resp_valid),
      .tck_i,
      .tms_i,
      .trst_ni,
      .td_i(tdi_i),
      .td_o(tdo_o),
      .tdo_oe_o()
  );
endmodule
